import { LockstepError } from './errors.ts';

/** PostgreSQL's own levels of `synchronous_commit`. */
export type SynchronousCommit = 'off' | 'local' | 'remote_write' | 'on' | 'remote_apply';

/**
 * What a commit waits for. PostgreSQL's names, or the aliases `async` (= `local`: on the leader's disk
 * only, lost when the leader is), `sync` (= `on`: also on a follower's disk, survives the leader) and
 * `visible` (= `remote_apply`: also readable on a synchronous follower).
 */
export type Durability = SynchronousCommit | 'async' | 'sync' | 'visible';

/** A {@link Durability}, or the name of a policy that the pool was given. */
export type DurabilityName = Durability | (string & {});

/** PostgreSQL's level by durability name. */
export type DurabilityLevels = ReadonlyMap<string, SynchronousCommit>;

const BUILT_IN: Readonly<Record<Durability, SynchronousCommit>> = {
  off: 'off',
  local: 'local',
  remote_write: 'remote_write',
  on: 'on',
  remote_apply: 'remote_apply',
  async: 'local',
  sync: 'on',
  visible: 'remote_apply',
};

const BUILT_IN_LEVELS: DurabilityLevels = new Map(Object.entries(BUILT_IN));

/**
 * The built-in durabilities and an app's own names for them. Throws CONFIG_INVALID when a name is a built-in
 * one or stands for none. `default` is refused too: a level for every write would cost each of them a
 * statement more, while a setting of the connection costs nothing.
 */
export function createDurabilityLevels(policies: Readonly<Record<string, Durability>>): DurabilityLevels {
  const levels = new Map(BUILT_IN_LEVELS);
  for (const [name, durability] of Object.entries(policies)) {
    if (BUILT_IN_LEVELS.has(name)) throw policyRefused(name, 'which is built in; choose another name');
    if (name === 'default')
      throw policyRefused(name, "which no write names; pass options: '-c synchronous_commit=local' instead");
    levels.set(name, parseDurability(durability));
  }
  return levels;
}

function policyRefused(name: string, why: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', `"durability" has a policy "${name}", ${why}.`, {
    details: { name },
  });
}

/** PostgreSQL's level for a durability's name. Throws CONFIG_INVALID for an unknown one. */
export function parseDurability(name: string, levels: DurabilityLevels = BUILT_IN_LEVELS): SynchronousCommit {
  const level = levels.get(name);
  if (level !== undefined) return level;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"${name}" is not a durability; use one of ${[...levels.keys()].join(', ')}.`,
    { details: { name } },
  );
}

/** Whether a commit at this level waits for a follower, so that it survives the loss of the leader. */
export function isSynchronous(level: SynchronousCommit): boolean {
  return level === 'remote_write' || level === 'on' || level === 'remote_apply';
}

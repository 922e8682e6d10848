import { LockstepError } from './errors.ts';

/** PostgreSQL's own levels of `synchronous_commit`. */
export type SynchronousCommit = 'off' | 'local' | 'remote_write' | 'on' | 'remote_apply';

/**
 * What a commit waits for. PostgreSQL's names, or the aliases `async` (= `local`: on the leader's disk
 * only, lost when the leader is), `sync` (= `on`: also on a follower's disk, survives the leader) and
 * `visible` (= `remote_apply`: also readable on a synchronous follower).
 */
export type Durability = SynchronousCommit | 'async' | 'sync' | 'visible';

const LEVELS: Readonly<Record<Durability, SynchronousCommit>> = {
  off: 'off',
  local: 'local',
  remote_write: 'remote_write',
  on: 'on',
  remote_apply: 'remote_apply',
  async: 'local',
  sync: 'on',
  visible: 'remote_apply',
};

/** PostgreSQL's level for a durability name. Throws CONFIG_INVALID for an unknown one. */
export function parseDurability(value: string): SynchronousCommit {
  const level = Object.hasOwn(LEVELS, value) ? LEVELS[value as Durability] : undefined;
  if (level === undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${value}" is not a durability; use one of ${Object.keys(LEVELS).join(', ')}.`,
      { details: { value } },
    );
  }
  return level;
}

/** Whether a commit at this level waits for a follower, so that it survives the loss of the leader. */
export function isSynchronous(level: SynchronousCommit): boolean {
  return level === 'remote_write' || level === 'on' || level === 'remote_apply';
}

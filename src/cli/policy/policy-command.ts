import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { findNode } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { countedOthers } from '../../leader-follower/core/sync-policy.ts';
import type { NodeStatus } from '../../leader-follower/report/status.ts';
import { parseDuration } from '../../model/duration.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Topology } from '../../model/topology.ts';
import type { VersionedPlan } from '../../leader-follower/plan/plan-register.ts';
import { askAgent, askAnyAgent } from '../commands/agent-request.ts';
import { CONFIG, STATE } from '../commands/cluster-place.ts';
import type { ClusterPlace } from '../commands/cluster-place.ts';
import { missingFor, refusePolicy, tellOfPolicy } from '../commands/core/waiting-writes.ts';
import type { WantedPolicy } from '../commands/core/waiting-writes.ts';
import { fetchTopology } from '../commands/local-cluster.ts';
import { changeNodes } from '../commands/node-command.ts';
import { changePlan, print, readConfig } from '../commands/plan-commands.ts';

const KINDS = ['async', 'semi-sync', 'sync'] as const;
type PolicyKind = (typeof KINDS)[number];

interface SetOptions extends ClusterPlace {
  readonly followers?: number;
  readonly degradeAfter?: number;
  readonly force: boolean;
}

/** What a commit of an app waits for that does not say so itself. */
const DEFAULT_LEVEL = 'synchronous_commit';

/** `policy show` and `set`. They need agents only, not `lockstep dev`. */
export function addPolicyCommands(program: Command): void {
  const policy = program.command('policy').description('what commits wait for, in the whole cluster');
  policy
    .command('set')
    .description('changed online; each operation may still choose for itself')
    .argument('<kind>', 'async: nobody; semi-sync: some followers; sync: all that may lead', parseKind)
    .option('--followers <k>', 'how many a semi-synchronous commit waits for', parseFollowers)
    .option(
      '--degrade-after <duration>',
      'when they have not confirmed for so long, wait for nobody until they do again (default: wait)',
      parsePatience,
    )
    .option('--force', 'also where commits wait for a follower that is away', false)
    .option(...STATE)
    .option(...CONFIG)
    .action((kind: PolicyKind, options: SetOptions) => setPolicy(kind, options));
  policy
    .command('show')
    .description('what commits wait for now')
    .option(...STATE)
    .option(...CONFIG)
    .option('--json', 'print one JSON document', false)
    .action((options: ClusterPlace & { json: boolean }) => showPolicy(options));
}

async function setPolicy(kind: PolicyKind, options: SetOptions): Promise<void> {
  const config = await readConfig(options);
  if (kind !== 'semi-sync' && options.followers !== undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `--followers belongs to semi-sync, not to ${kind}. Nothing was changed.`,
    );
  }
  if (kind === 'async' && options.degradeAfter !== undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      '--degrade-after belongs to semi-sync and sync: an asynchronous commit waits for nobody anyway. Nothing was changed.',
    );
  }
  const followers = kind === 'sync' ? 'all' : (options.followers ?? 1);
  const policy = { followers, degradeAfterMs: options.degradeAfter ?? null } as const;
  const warning = kind === 'async' ? null : await findWait(config, policy, options.force);
  await changeNodes(config, { kind: 'policy', policy });
  const isAsync = await isAsyncByDefault(config);
  const missed =
    kind === 'async' && !isAsync
      ? await changePlan(config, { kind: 'set', settings: { [DEFAULT_LEVEL]: 'local' } })
      : kind !== 'async' && isAsync
        ? await changePlan(config, { kind: 'unset', names: [DEFAULT_LEVEL] })
        : [];
  if (missed.length > 0) print(`${missed.join(', ')} will go by it once they answer.`);
  await showPolicy({ ...options, json: false });
  if (warning !== null) print(warning);
}

/** What to tell of commits that will wait for who is away; null where none will. Throws CONFIG_INVALID where nobody insists. */
async function findWait(
  config: ClusterConfig,
  policy: WantedPolicy,
  isForced: boolean,
): Promise<string | null> {
  const topology = await fetchTopology(config);
  if (topology.leader === null) return null;
  const counted = countedOthers(config.nodes, findNode(config, topology.leader).name, policy);
  const away = missingFor(policy, counted, topology);
  if (away.length === 0) return null;
  // Who has no data yet is not waited for either, until it has.
  const empty = await Promise.all(away.map((name) => hasNoData(config, name)));
  const withData = counted.filter((name) => empty[away.indexOf(name)] !== true);
  const missing = missingFor(policy, withData, topology);
  if (missing.length === 0) return null;
  if (!isForced) throw new LockstepError('CONFIG_INVALID', refusePolicy(missing));
  return tellOfPolicy(missing, topology);
}

async function hasNoData(config: ClusterConfig, name: string): Promise<boolean> {
  const ask = { path: '/v1/status', timeoutMs: 1_000 };
  return askAgent<NodeStatus>(config, findNode(config, name), ask).then(
    ({ hasData }) => !hasData,
    () => false,
  );
}

async function isAsyncByDefault(config: ClusterConfig): Promise<boolean> {
  const { plan } = await askAnyAgent<VersionedPlan>(config, {
    path: '/v1/plan',
    timeoutMs: 10_000,
  });
  return isAsyncLevel(plan.settings[DEFAULT_LEVEL]);
}

/** `off` waits for even less than `local`, as PostgreSQL spells both. */
export function isAsyncLevel(level: string | undefined): boolean {
  return ['local', 'off', 'false', 'no', '0'].includes(level?.trim().toLowerCase() ?? '');
}

async function showPolicy(options: ClusterPlace & { readonly json: boolean }): Promise<void> {
  const config = await readConfig(options);
  const { syncPolicy } = await fetchTopology(config);
  const isAsync = await isAsyncByDefault(config);
  if (syncPolicy === undefined) {
    throw new LockstepError('NO_LEADER', 'No agent knows yet what was agreed on. Try again.', {
      retryable: true,
    });
  }
  const { followers } = syncPolicy;
  const kind: PolicyKind = isAsync ? 'async' : followers === 'all' ? 'sync' : 'semi-sync';
  print(options.json ? JSON.stringify({ kind, ...syncPolicy }, null, 2) : describePolicy(kind, syncPolicy));
}

function describePolicy(kind: PolicyKind, policy: NonNullable<Topology['syncPolicy']>): string {
  const { followers, degradeAfterMs, isDegraded, confirmedBy } = policy;
  const count = followers === 'all' ? 'every follower that may lead' : `${followers} of the followers`;
  return [
    kind === 'async'
      ? `async: a commit waits for nobody unless it asks to; one that does waits for ${count}`
      : `${kind}: a commit waits for ${count}`,
    degradeAfterMs === null
      ? 'strictly'
      : `for ${degradeAfterMs / 1_000} s at most, then for those only that confirm in time`,
    `${isDegraded ? 'DEGRADED now: ' : ''}${confirmedBy} surely ${confirmedBy === 1 ? 'has' : 'have'} every commit that waited`,
  ].join('; ');
}

function parseKind(text: string): PolicyKind {
  const kind = KINDS.find((known) => known === text);
  if (kind !== undefined) return kind;
  throw new InvalidArgumentError(`It is one of ${KINDS.join(', ')}.`);
}

function parseFollowers(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 12) return count;
  throw new InvalidArgumentError('A number from 1 to 12.');
}

function parsePatience(text: string): number {
  try {
    return parseDuration(text, '--degrade-after');
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

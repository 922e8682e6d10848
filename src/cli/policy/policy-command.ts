import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { parseDuration } from '../../model/duration.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Topology } from '../../model/topology.ts';
import type { VersionedPlan } from '../../leader-follower/plan/plan-register.ts';
import { askAnyAgent } from '../commands/agent-request.ts';
import { CONFIG, STATE } from '../commands/cluster-place.ts';
import type { ClusterPlace } from '../commands/cluster-place.ts';
import { fetchTopology } from '../commands/local-cluster.ts';
import { changeNodes } from '../commands/node-command.ts';
import { changePlan, print, readConfig } from '../commands/plan-commands.ts';

const KINDS = ['async', 'semi-sync', 'sync'] as const;
type PolicyKind = (typeof KINDS)[number];

interface SetOptions extends ClusterPlace {
  readonly followers?: number;
  readonly degradeAfter?: number;
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
  const followers = kind === 'sync' ? 'all' : (options.followers ?? 1);
  const policy = { followers, degradeAfterMs: options.degradeAfter ?? null } as const;
  await changeNodes(config, { kind: 'policy', policy });
  const isAsync = await isAsyncByDefault(config);
  if (kind === 'async' && !isAsync)
    await changePlan(config, { kind: 'set', settings: { [DEFAULT_LEVEL]: 'local' } });
  if (kind !== 'async' && isAsync) await changePlan(config, { kind: 'unset', names: [DEFAULT_LEVEL] });
  await showPolicy({ ...options, json: false });
}

async function isAsyncByDefault(config: ClusterConfig): Promise<boolean> {
  const { plan } = await askAnyAgent<VersionedPlan>(config, {
    path: '/v1/plan',
    timeoutMs: 10_000,
  });
  return plan.settings[DEFAULT_LEVEL] === 'local';
}

async function showPolicy(options: ClusterPlace & { readonly json: boolean }): Promise<void> {
  const config = await readConfig(options);
  const { syncPolicy } = await fetchTopology(config);
  const isAsync = await isAsyncByDefault(config);
  const { followers = 1, degradeAfterMs = null, isDegraded = false } = syncPolicy ?? {};
  const kind: PolicyKind = isAsync ? 'async' : followers === 'all' ? 'sync' : 'semi-sync';
  if (options.json) return print(JSON.stringify({ kind, followers, degradeAfterMs, isDegraded }, null, 2));
  print(describePolicy(kind, { followers, degradeAfterMs, isDegraded }));
}

function describePolicy(kind: PolicyKind, policy: NonNullable<Topology['syncPolicy']>): string {
  const { followers, degradeAfterMs, isDegraded } = policy;
  const count = followers === 'all' ? 'every follower that may lead' : `${followers} of the followers`;
  return [
    kind === 'async'
      ? `async: a commit waits for nobody unless it asks to; one that does waits for ${count}`
      : `${kind}: a commit waits for ${count}`,
    degradeAfterMs === null
      ? 'strictly'
      : `for ${degradeAfterMs / 1_000} s at most, then for nobody until they confirm again`,
    ...(isDegraded ? ['DEGRADED now: commits wait for nobody'] : []),
  ].join('; ');
}

function parseKind(text: string): PolicyKind {
  const kind = KINDS.find((known) => known === text);
  if (kind !== undefined) return kind;
  throw new InvalidArgumentError(`It is one of ${KINDS.join(', ')}.`);
}

function parseFollowers(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 11) return count;
  throw new InvalidArgumentError('A number from 1 to 11.');
}

function parsePatience(text: string): number {
  try {
    return parseDuration(text, '--degrade-after');
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

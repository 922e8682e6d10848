import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { findNode } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import type { NodeStatus } from '../../leader-follower/report/status.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Topology } from '../../model/topology.ts';
import { askAgent } from './agent-request.ts';
import { fetchTopology, topologyWithLeader } from './local-cluster.ts';
import { print, readConfig } from './plan-commands.ts';
import { handOver } from './switchover-command.ts';
import { CONFIG, STATE } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

/** PostgreSQL may have to write a large checkpoint, and to replay much when it starts. */
const RESTART_TIMEOUT_MS = 180_000;
const CATCH_UP_TIMEOUT_MS = 300_000;
/** Whoever waits longer is told for what. */
const TELL_AFTER_MS = 3_000;
const WHY_LEADER = 'and what is restarted could not catch up with anyone. Nothing was changed.';
/** As close as a switchover wants its successor. */
const CLOSE_BYTES = 1_048_576;

/** How the cluster is seen; each rejects while nobody answers. */
interface Looks {
  topology(): Promise<Topology>;
  status(name: string): Promise<NodeStatus>;
}

/** `restart`: one node, or with `--rolling` each in turn. It needs agents only. */
export function addRestartCommand(program: Command): void {
  program
    .command('restart')
    .description('restart PostgreSQL: for settings that need it, or for a new minor version')
    .argument('[node]', 'a leader hands over first')
    .option('--rolling', 'every node, one after the other, the leader last', false)
    .option(...STATE)
    .option(...CONFIG)
    .action(async (node: string | undefined, options: ClusterPlace & { rolling: boolean }) => {
      const config = await readConfig(options);
      if ((node === undefined) !== options.rolling) {
        throw new LockstepError('CONFIG_INVALID', 'Name one node, or use --rolling for all of them.');
      }
      const names = node === undefined ? null : [findNode(config, node).name];
      await restartInTurn(config, names);
    });
}

/** Followers first, then the leader, which hands over before. Stops at the first failure. */
async function restartInTurn(config: ClusterConfig, wanted: readonly string[] | null): Promise<void> {
  const { leader } = await topologyWithLeader(config, WHY_LEADER);
  const names = wanted ?? config.nodes.filter((node) => !node.witness).map((node) => node.name);
  const order = names.toSorted((a, b) => Number(a === leader) - Number(b === leader));
  const looks: Looks = {
    topology: () => fetchTopology(config),
    status: (name) =>
      askAgent<NodeStatus>(config, findNode(config, name), { path: '/v1/status', timeoutMs: 1_000 }),
  };
  for (const [index, name] of order.entries()) {
    let isAsked = false;
    let isRestarted = false;
    try {
      const before = await untilReady(looks, wanted === null ? names : []);
      if (before.leader === name) {
        const { to, pausedMs } = await handOver(config, null, name);
        print(`${name} handed over to ${to}; writes paused for ${pausedMs} ms.`);
        await untilReady(looks, wanted === null ? names : [name]);
      }
      isAsked = true;
      await askAgent(config, findNode(config, name), {
        path: '/v1/restart',
        body: {},
        timeoutMs: RESTART_TIMEOUT_MS,
      });
      isRestarted = true;
      await untilReady(looks, [name]);
      print(`${name} was restarted and has caught up.`);
    } catch (error) {
      const restarted = order.slice(0, isRestarted ? index + 1 : index);
      throw withRest(error, name, { restarted, untouched: order.slice(isAsked ? index + 1 : index) });
    }
  }
}

/**
 * Resolves with the picture in which each of `names` leads, or streams from who does and is close. Once something was
 * restarted or handed over, a look that fails says little: it is taken again until the patience ends. Throws NO_LEADER
 * where nobody leads then, LAG_EXCEEDED where one of `names` is not ready.
 */
export async function untilReady(
  looks: Looks,
  names: readonly string[],
  patienceMs: number = CATCH_UP_TIMEOUT_MS,
): Promise<Topology> {
  const startedAtMs = performance.now();
  let told = '';
  for (;;) {
    const topology = await looks.topology().catch(() => null);
    const isLed = topology !== null && topology.leader !== null;
    const leaderless = topology === null ? 'no agent answers' : 'nobody leads';
    const lacking = isLed ? await findLacking(looks, topology, names) : leaderless;
    if (topology !== null && lacking === null) return topology;
    const waitedMs = performance.now() - startedAtMs;
    if (waitedMs > TELL_AFTER_MS && lacking !== null && lacking !== told) {
      told = lacking;
      process.stderr.write(`Waiting: ${lacking}.\n`);
    }
    if (waitedMs > patienceMs) {
      const after = `after ${patienceMs / 1_000} s ${lacking}`;
      throw isLed
        ? new LockstepError('LAG_EXCEEDED', `See "lockstep status": ${after}.`)
        : new LockstepError('NO_LEADER', `Do what "lockstep status" says, and try again: ${after}.`, {
            retryable: true,
          });
    }
    await delay(100);
  }
}

async function findLacking(
  looks: Looks,
  topology: Topology,
  names: readonly string[],
): Promise<string | null> {
  for (const name of names) {
    if (name === topology.leader) continue;
    const status = await looks.status(name).catch(() => null);
    if (status?.state !== 'running') return `${name} does not run`;
    const seen = topology.nodes.find((node) => node.name === name);
    // A cascading node is fed by another follower.
    const isFromLeader = status.following === topology.leader;
    if (!status.isReceiving || (!isFromLeader && seen?.kind !== 'cascading'))
      return `${name} does not stream from ${topology.leader}`;
    // What a delayed node holds back on purpose it has.
    const behind = (seen?.kind === 'delayed' ? seen.unreceivedBytes : seen?.lagBytes) ?? null;
    if (behind === null || behind > CLOSE_BYTES) return `${name} has not caught up`;
  }
  const isReady = topology.isSwitchoverReady ?? topology.isFailoverReady;
  return names.length > 0 && !isReady ? 'no follower could take over' : null;
}

function withRest(
  error: unknown,
  name: string,
  { restarted, untouched }: { readonly restarted: readonly string[]; readonly untouched: readonly string[] },
): unknown {
  if (!(error instanceof LockstepError)) return error;
  const done = restarted.length === 0 ? '' : ` Restarted: ${restarted.join(', ')}.`;
  const rest = untouched.length === 0 ? '' : ` Not restarted: ${untouched.join(', ')}.`;
  return new LockstepError(error.code, `Stopped at ${name}: ${error.message}${done}${rest}`, {
    outcome: restarted.includes(name) ? 'applied' : error.outcome,
    retryable: error.retryable,
    cause: error,
  });
}

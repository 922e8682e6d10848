import { setTimeout as delay } from 'node:timers/promises';
import { delayMsOf, findNode } from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import type { RescueCommand } from '../../leader-follower/delayed/rescue-command.ts';
import type { RescueList } from '../../leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../leader-follower/delayed/rescue.ts';
import { RescueSession } from '../../leader-follower/rescue/session.ts';
import { LockstepError } from '../../model/errors.ts';
import { askAgent } from '../commands/agent-request.ts';
import { fetchTopology } from '../commands/local-cluster.ts';

const STATUS_TIMEOUT_MS = 5_000;
/** Reading hours of log, or going back by a rewind, takes a while; the agent goes on when nobody waits any more. */
const COMMAND_TIMEOUT_MS = 900_000;
const LOOK_MS = 200;

/** The cluster's delayed node, or the named one of several. Throws CONFIG_INVALID when there is none. */
export function delayedNode(config: ClusterConfig, name: string | undefined): NodeConfig {
  const delayed = config.nodes.filter((node) => delayMsOf(node) > 0);
  const wanted = name === undefined ? null : findNode(config, name);
  if (wanted !== null) {
    if (delayMsOf(wanted) > 0) return wanted;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${wanted.name} is not delayed, so that it has no past to show.`,
    );
  }
  const [first, ...rest] = delayed;
  if (first === undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'This cluster has no delayed node, from which a mistake could be undone. Add one for the next time: lockstep node add <name> --delay 1h.',
    );
  }
  if (rest.length === 0) return first;
  throw new LockstepError(
    'CONFIG_INVALID',
    `There are several delayed nodes; say which with --node: ${delayed.map((node) => `${node.name} (${node.delay})`).join(', ')}.`,
  );
}

export function rescueStatus(config: ClusterConfig, node: NodeConfig): Promise<RescueStatus> {
  return askAgent<RescueStatus>(config, node, { path: '/v1/rescue', timeoutMs: STATUS_TIMEOUT_MS });
}

export function askRescue<T extends RescueStatus | RescueList>(
  config: ClusterConfig,
  node: NodeConfig,
  command: RescueCommand,
): Promise<T> {
  return askAgent<T>(config, node, { path: '/v1/rescue', body: command, timeoutMs: COMMAND_TIMEOUT_MS });
}

/** Waits until the past can be read; `onProgress` is told how far it is. Throws what the agent says went wrong. */
export async function untilOpen(
  config: ClusterConfig,
  node: NodeConfig,
  onProgress: (status: RescueStatus) => void,
): Promise<RescueStatus> {
  for (;;) {
    const status = await rescueStatus(config, node);
    if (status.phase === 'open') return status;
    if (status.phase !== 'rolling') {
      throw new LockstepError(
        'POSTGRES_FAILED',
        status.problem ?? `The rescue on ${node.name} did not open; see "lockstep status".`,
      );
    }
    onProgress(status);
    await delay(LOOK_MS);
  }
}

/** Both sides of an open rescue. Throws CONFIG_INVALID when none is open, NO_LEADER while nobody leads. */
export async function openSession(
  config: ClusterConfig,
  node: NodeConfig,
  database: string | undefined,
): Promise<RescueSession> {
  const status = await rescueStatus(config, node);
  const { leader } = await fetchTopology(config);
  if (leader === null) {
    throw new LockstepError(
      'NO_LEADER',
      'Nobody leads right now, to whom anything could be brought back; see "lockstep status", and try again.',
      { retryable: true },
    );
  }
  return RescueSession.open({
    config,
    database: database ?? config.database,
    node,
    status,
    leader: findNode(config, leader),
  });
}

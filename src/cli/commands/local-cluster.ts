import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import type { ErrorCode, Outcome } from '../../model/errors.ts';
import type { Topology } from '../../model/topology.ts';
import { askAgent } from './agent-request.ts';
import { appUrl, readRunFile } from '../dev/cluster-folder.ts';
import { DEFAULT_STATE_DIR } from './cluster-place.ts';

/** A failover is over by then. */
const LEADER_WAIT_MS = 10_000;
const LOOK_MS = 100;

/** A cluster that `lockstep dev` runs on this machine. */
export interface LocalCluster {
  readonly config: ClusterConfig;
  /** For the client: all nodes. */
  readonly url: string;
  readonly adminUrl: string;
  /** SIGKILL for the node's agent and PostgreSQL. */
  kill(node: string): Promise<void>;
  start(node: string): Promise<void>;
  switchover(to: string | null): Promise<{ from: string; to: string; pausedMs: number }>;
  /** The leader's name. Throws NO_LEADER while there is none. */
  leader(): Promise<string>;
}

/**
 * Finds the cluster that runs on `stateDir` below `cwd`. Throws CONFIG_INVALID when none was created
 * there or none runs.
 */
export async function findLocalCluster(
  cwd: string,
  stateDir: string = DEFAULT_STATE_DIR,
): Promise<LocalCluster> {
  const folder = resolve(cwd, stateDir);
  const config = await readClusterConfig(join(folder, 'cluster.json'));
  const run = await readRunFile(folder);
  if (run === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `No cluster runs on ${folder}. Start it with "npm start" or "lockstep dev".`,
    );
  }
  const { adminUrl, token } = run;
  const command = async <T>(path: string, body: unknown): Promise<T> => {
    const response = await fetch(`${adminUrl}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }).catch((error: unknown) => {
      throw new LockstepError(
        'CONFIG_INVALID',
        `The cluster's supervisor at ${adminUrl} does not answer. Start it again with "lockstep dev".`,
        { cause: error },
      );
    });
    const answer: unknown = await response.json();
    if (response.ok) return answer as T;
    const { code, message, outcome } = answer as { code: ErrorCode; message: string; outcome: Outcome };
    throw new LockstepError(code, message, { outcome });
  };
  return {
    config,
    url: appUrl(config),
    adminUrl,
    kill: async (node) => void (await command(`/api/nodes/${encodeURIComponent(node)}/kill`, {})),
    start: async (node) => void (await command(`/api/nodes/${encodeURIComponent(node)}/start`, {})),
    switchover: (to) => command('/api/switchover', to === null ? {} : { to }),
    leader: async () => {
      const { leader } = await fetchTopology(config);
      if (leader !== null) return leader;
      throw new LockstepError('NO_LEADER', 'The cluster has no leader right now; see "lockstep status".', {
        retryable: true,
      });
    },
  };
}

/** The newest picture that any agent has. Throws NO_LEADER when no agent answers. */
export async function fetchTopology(config: ClusterConfig): Promise<Topology> {
  const answers = await Promise.all(
    config.nodes.map((node) =>
      askAgent<Topology>(config, node, { path: '/v1/topology', timeoutMs: 1_000 }).catch(() => null),
    ),
  );
  const reachable = (topology: Topology): number =>
    topology.nodes.filter((node) => node.state !== 'unreachable').length;
  const newest = answers
    .filter((topology) => topology !== null)
    .toSorted(
      (a, b) =>
        Number(b.leader !== null) - Number(a.leader !== null) ||
        b.term - a.term ||
        reachable(b) - reachable(a) ||
        b.version - a.version,
    )[0];
  if (newest) return newest;
  throw new LockstepError(
    'NO_LEADER',
    `None of ${config.nodes.map(({ name }) => name).join(', ')} answers for cluster ${config.name}. Start their agents ("npm start", "lockstep dev", or the service on their servers); nodes that were added later must be in this cluster.json to be found.`,
    { retryable: true },
  );
}

/**
 * A command's first look: the picture while somebody leads; waits for a failover that is under way. Throws NO_LEADER
 * where nobody comes to lead, or no agent answers; `why` says what a leader is wanted for, and what was changed so far.
 */
export async function topologyWithLeader(
  config: ClusterConfig,
  why: string,
): Promise<Topology & { readonly leader: string }> {
  const deadline = performance.now() + LEADER_WAIT_MS;
  for (;;) {
    const topology = await fetchTopology(config);
    const { leader } = topology;
    if (leader !== null) return { ...topology, leader };
    if (performance.now() > deadline) {
      throw new LockstepError(
        'NO_LEADER',
        `Do what "lockstep status" says, and try again: nobody leads, ${why}`,
        { retryable: true },
      );
    }
    await delay(LOOK_MS);
  }
}

import type { AdminSource, ClusterChange } from '../../src/admin/source.ts';
import { LockstepError } from '../../src/model/errors.ts';
import type { ClusterEvent, NodeTopology, Topology } from '../../src/model/topology.ts';

/** A node that runs as a caught-up synchronous follower unless told otherwise. */
export function node(name: string, changes: Partial<NodeTopology> = {}): NodeTopology {
  return {
    name,
    role: 'follower',
    state: 'running',
    detail: null,
    host: '127.0.0.1',
    port: 5440 + Number(/\d+/.exec(name)?.[0] ?? 0),
    agentUrl: `http://127.0.0.1:7500/${name}`,
    timeline: 1,
    receivedLsn: '0/3000060',
    replayedLsn: '0/3000060',
    lagBytes: 0,
    lagMs: 0,
    sync: true,
    kind: 'plain',
    ...changes,
  };
}

/** n1 leads n2 and n3 unless told otherwise. */
export function topology(changes: Partial<Topology> = {}): Topology {
  return {
    cluster: 'demo',
    clusterId: 'demo-id',
    topology: 'leader-follower',
    version: 1,
    term: 1,
    timeline: 1,
    forks: [],
    leader: 'n1',
    isFailoverReady: true,
    nodes: [node('n1', { role: 'leader', sync: false }), node('n2'), node('n3')],
    ...changes,
  };
}

export function clusterEvent(changes: Partial<ClusterEvent> = {}): ClusterEvent {
  return { at: 1_700_000_000_000, node: 'n1', kind: 'started', message: 'PostgreSQL started', ...changes };
}

/** A scripted host of the admin server: what it shows is set by the test, what it is told is kept in `calls`. */
export interface ScriptedSource extends AdminSource {
  readonly calls: string[];
  change(change: ClusterChange): void;
  listenerCount(): number;
}

export function scriptedSource(start: Topology | null): ScriptedSource {
  const listeners = new Set<(change: ClusterChange) => void>();
  const events: ClusterEvent[] = [];
  const calls: string[] = [];
  let current = start;
  return {
    token: 'a-secret-token',
    pageKey: 'a-page-key-of-one-run',
    calls,
    topology: () => current,
    events: () => events,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    change(change) {
      if (change.kind === 'topology') current = change.topology;
      else events.push(change.event);
      for (const listener of listeners) listener(change);
    },
    listenerCount: () => listeners.size,
    commands: {
      async kill(name) {
        calls.push(`kill ${name}`);
      },
      async start(name) {
        calls.push(`start ${name}`);
      },
      async switchover(to) {
        calls.push(`switchover ${to ?? '(best)'}`);
        if (to === 'n1') {
          throw new LockstepError('NO_LEADER', 'n1 cannot take over now; wait until it has caught up.', {
            outcome: 'unknown',
          });
        }
        return { from: 'n1', to: to ?? 'n2', pausedMs: 120 };
      },
    },
  };
}

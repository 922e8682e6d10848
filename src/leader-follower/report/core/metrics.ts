import { parseLsn } from '../../../model/lsn.ts';
import type { Topology } from '../../../model/topology.ts';
import { receivingObstacle } from './health.ts';
import type { NodeStatus } from '../status.ts';

/** What this process uses of its machine. */
export interface ProcessUse {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

export interface MetricSources {
  readonly status: NodeStatus;
  readonly topology: Topology;
  /** How often each kind of event happened here since this agent started. */
  readonly events: ReadonlyMap<string, number>;
  readonly process: ProcessUse;
}

type Labels = Readonly<Record<string, string>>;

interface Metric {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** What is not known is left out. */
  readonly samples: readonly { readonly labels?: Labels; readonly value: number | boolean | null }[];
}

/**
 * What an agent tells Prometheus of its node, and of the cluster as this node sees it; units are in the names. Source:
 * Prometheus' documentation, "Exposition formats", text format 0.0.4.
 */
export function renderMetrics(sources: MetricSources): string {
  const { status, topology } = sources;
  const shared: Labels = { cluster: topology.cluster, node: status.node };
  return [...nodeMetrics(sources), ...clusterMetrics(topology), ...agentMetrics(sources)]
    .map((metric) => renderMetric(metric, shared))
    .join('');
}

function nodeMetrics({ status, topology }: MetricSources): readonly Metric[] {
  const own = topology.nodes.find(({ name }) => name === status.node);
  const { measures } = status;
  const isFollower = status.role === 'follower';
  return [
    gauge('leader', 'Whether this node leads, with the right to.', status.role === 'leader'),
    gauge(
      'follower_streaming',
      'Whether this node follows and receives.',
      isFollower && status.isReceiving && receivingObstacle(status, topology) === null,
    ),
    gauge('follower_synchronous', 'Whether synchronous commits may count this node.', own?.sync ?? null),
    gauge(
      'postgres_running',
      'Whether PostgreSQL serves.',
      own?.kind === 'witness' ? null : status.state === 'running',
    ),
    gauge('timeline', 'The timeline that this node is on.', status.history?.timeline ?? null),
    gauge(
      'received_lsn_bytes',
      "A leader's own write position, or what a follower has received.",
      bytesOf(status.receivedLsn),
    ),
    gauge('replayed_lsn_bytes', 'What a follower has replayed.', bytesOf(status.replayedLsn)),
    gauge('lag_bytes', "Bytes of the leader's log not replayed here.", own?.lagBytes ?? null),
    gauge('lag_seconds', 'Since the oldest commit not replayed here.', seconds(own?.lagMs ?? null)),
    gauge(
      'vote_counts',
      "Whether this node's vote counts now, where agents vote.",
      status.voteObstacle === undefined ? null : status.voteObstacle === null,
    ),
    gauge('disk_free_bytes', 'Room for PostgreSQL on its disk.', measures?.freeBytes ?? null),
    gauge(
      'disk_fsync_seconds',
      'How long a small write takes until it is on disk.',
      seconds(measures?.fsyncMs ?? null),
    ),
    gauge(
      'restart_pending_settings',
      'Settings that were changed and wait for a restart.',
      status.facts?.pendingRestart.length ?? null,
    ),
  ];
}

function clusterMetrics(topology: Topology): readonly Metric[] {
  return [
    gauge('cluster_has_leader', 'Whether anybody leads.', topology.leader !== null),
    gauge('cluster_term', 'The newest term.', topology.term),
    gauge(
      'cluster_sync_degraded',
      'Whether synchronous commits wait for fewer followers than the policy says.',
      topology.syncPolicy?.isDegraded ?? null,
    ),
    gauge(
      'cluster_sync_confirmed_by',
      'How many followers surely have every acknowledged synchronous commit.',
      topology.syncPolicy?.confirmedBy ?? null,
    ),
    gauge(
      'cluster_sync_waiting',
      'Whether synchronous commits wait for followers that acknowledge nothing.',
      topology.syncPolicy?.waitsFor === undefined ? null : topology.syncPolicy.waitsFor.length > 0,
    ),
    gauge('cluster_failover_ready', 'Whether a failover would succeed now.', topology.isFailoverReady),
    gauge(
      'cluster_paused',
      'Whether nobody takes over by itself, for maintenance.',
      topology.maintenance != null,
    ),
    {
      ...gauge('cluster_node_up', 'Whether a node serves, as this one sees it.', null),
      samples: topology.nodes.map(({ name, state }) => ({
        labels: { peer: name },
        value: state === 'running',
      })),
    },
  ];
}

function agentMetrics({ status, events, process }: MetricSources): readonly Metric[] {
  const version = status.facts?.version ?? null;
  return [
    {
      name: 'lockstep_events_total',
      type: 'counter',
      help: 'Events of this node since its agent started.',
      samples: [...events].map(([kind, value]) => ({ labels: { kind }, value })),
    },
    {
      name: 'lockstep_postgres_info',
      type: 'gauge',
      help: 'The version of PostgreSQL that runs.',
      samples: version === null ? [] : [{ labels: { version }, value: 1 }],
    },
    {
      name: 'process_resident_memory_bytes',
      type: 'gauge',
      help: "The agent's memory.",
      samples: [{ value: process.residentBytes }],
    },
    {
      name: 'process_cpu_seconds_total',
      type: 'counter',
      help: "The agent's processor time.",
      samples: [{ value: process.cpuSeconds }],
    },
  ];
}

function gauge(name: string, help: string, value: number | boolean | null): Metric {
  return { name: `lockstep_${name}`, type: 'gauge', help, samples: [{ value }] };
}

function renderMetric({ name, type, help, samples }: Metric, shared: Labels): string {
  const lines = samples.flatMap(({ labels, value }) =>
    value === null ? [] : [`${name}${renderLabels({ ...shared, ...labels })} ${Number(value)}\n`],
  );
  return lines.length === 0 ? '' : `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function renderLabels(labels: Labels): string {
  const escaped = (text: string): string =>
    text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(',')}}`;
}

function bytesOf(lsn: string | null): number | null {
  return lsn === null ? null : Number(parseLsn(lsn));
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1_000;
}

import { serverAttributes } from '../app/meter.ts';
import type { Attributes, Meter, Observations } from '../app/meter.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';
import type { ConnectionCount } from '../../wire/contract.ts';
import type { Traffic, TrafficCounts } from '../cluster/traffic.ts';

/** What metrics are read from when they are collected. */
export interface MetricSources {
  readonly monitor: TopologyMonitor;
  readonly traffic: Traffic;
  readonly database: string;
  readonly maxConnections: number;
  readonly connections: () => readonly ConnectionCount[];
  readonly waitingCount: () => number;
}

const COUNTERS: Readonly<Record<keyof TrafficCounts, readonly [name: string, description: string]>> = {
  writes: ['lockstep.client.writes', 'Statements that wrote or may have written'],
  watermarkHits: ['lockstep.client.watermark.hits', 'Session reads on a follower that needed no check'],
  gatePasses: ['lockstep.client.gate.passes', 'Session reads whose check on a follower held'],
  gateMisses: ['lockstep.client.gate.misses', 'Session reads that a follower was not far enough for'],
  leaderGateMisses: ['lockstep.client.leader_gate.misses', 'Times the leader did not show yet what was seen'],
  redirected: ['lockstep.client.redirects', 'Statements that a follower refused and the leader answered'],
  retried: ['lockstep.client.retries', 'Statements and transactions that were tried again'],
  hedged: ['lockstep.client.hedges', 'Reads of which a copy went to a second follower'],
  unknownOutcomes: ['lockstep.client.outcomes.unknown', 'Writes whose answer was lost'],
  resolvedOutcomes: ['lockstep.client.outcomes.resolved', 'Lost answers that an idempotencyKey settled'],
};

/**
 * Tells the meter what the pool counts anyway, when it asks: statements cost nothing more. Returns a function
 * that ends it. Names as in OpenTelemetry's semantic conventions for database clients where those have one.
 */
export function exportMetrics(meter: Meter, sources: MetricSources): () => void {
  const { monitor, traffic, database } = sources;
  const upDown = (name: string, unit: string, description: string): never =>
    meter.createObservableUpDownCounter(name, { unit, description }) as never;
  const connections = upDown('db.client.connection.count', '{connection}', 'Open connections by state');
  const most = upDown('db.client.connection.max', '{connection}', 'Connections that may be in use at once');
  const waiting = upDown('db.client.connection.pending_requests', '{request}', 'Callers waiting for one');
  const lag = meter.createObservableGauge('lockstep.client.replication.lag', {
    unit: 'By',
    description: 'How far a server is behind the leader',
  }) as never;
  const reads = meter.createObservableCounter('lockstep.client.reads', {
    unit: '{statement}',
    description: 'Reads answered, by server',
  }) as never;
  const counters = Object.entries(COUNTERS).map(([key, [name, description]]) => {
    const counter = meter.createObservableCounter(name, { unit: '{statement}', description }) as never;
    return [key as keyof TrafficCounts, counter] as const;
  });
  const nodeOf = (key: string): Attributes => ({
    'lockstep.node.name': monitor.nameOf(key),
    ...serverAttributes(key),
  });
  const observe = (result: Observations): void => {
    for (const { node, total, idle } of sources.connections()) {
      const pool = { 'db.client.connection.pool.name': `${node}/${database}`, ...nodeOf(node) };
      result.observe(connections, idle, { ...pool, 'db.client.connection.state': 'idle' });
      result.observe(connections, total - idle, { ...pool, 'db.client.connection.state': 'used' });
    }
    const whole = { 'db.client.connection.pool.name': database };
    result.observe(most, sources.maxConnections, whole);
    result.observe(waiting, sources.waitingCount(), whole);
    for (const { key, role, lagBytes } of monitor.view) {
      if (lagBytes !== null) result.observe(lag, lagBytes, { ...nodeOf(key), 'lockstep.node.role': role });
    }
    for (const [key, count] of traffic.reads) result.observe(reads, count, nodeOf(key));
    for (const [key, counter] of counters) result.observe(counter, traffic.counts[key]);
  };
  const observables = [connections, most, waiting, lag, reads, ...counters.map(([, counter]) => counter)];
  meter.addBatchObservableCallback(observe, observables);
  return () => meter.removeBatchObservableCallback(observe, observables);
}

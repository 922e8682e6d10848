import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { judgeRoom } from '../../src/leader-follower/local/core/room-alarm.ts';
import {
  judgeHealth,
  parseLagLimit,
  primaryObstacle,
  replicaObstacle,
} from '../../src/leader-follower/report/core/health.ts';
import { renderMetrics } from '../../src/leader-follower/report/core/metrics.ts';
import type { NodeStatus } from '../../src/leader-follower/report/status.ts';
import { DamageReader } from '../../src/postgres/server-log.ts';
import { node, topology } from './admin-fixtures.ts';

const MB = 1_048_576;

/** n2 follows n1 and is well, unless told otherwise. */
function status(changes: Partial<NodeStatus> = {}): NodeStatus {
  return {
    cluster: 'demo-id',
    node: 'n2',
    role: 'follower',
    state: 'running',
    detail: null,
    hasData: true,
    term: 1,
    history: { timeline: 1, ancestors: [] },
    receivedLsn: '0/3000060',
    replayedLsn: '1/10',
    replayAgeMs: 0,
    following: 'n1',
    isReceiving: true,
    version: 1,
    hasLostLeader: false,
    voteObstacle: null,
    facts: { version: '17.4', pendingRestart: ['max_connections'] },
    measures: { peerLatencyMs: 1, clientLatencyMs: null, fsyncMs: 2.5, cpuHeadroom: 1, freeBytes: 900 * MB },
    ...changes,
  };
}

const nobodyLeads = topology({ leader: null });

describe('the health of a node', () => {
  it('is well where a follower streams, a leader leads, and a witness votes', () => {
    expect(judgeHealth(status(), topology())).toEqual({
      ok: true,
      node: 'n2',
      role: 'follower',
      state: 'running',
      problems: [],
    });
    expect(judgeHealth(status({ node: 'n1', role: 'leader', isReceiving: false }), topology()).ok).toBe(true);
    const witness = topology({
      nodes: [...topology().nodes, node('w1', { kind: 'witness', role: 'unknown' })],
    });
    const health = judgeHealth(status({ node: 'w1', role: 'unknown', isReceiving: false }), witness);
    expect(health).toMatchObject({ ok: true, role: 'witness' });
  });

  it.each([
    [status({ isReceiving: false }), topology(), 'it does not stream from n1'],
    [status({ role: 'unknown' }), topology(), 'PostgreSQL does not answer, or has no right to lead'],
    [
      status({ role: 'unknown', detail: 'let its PostgreSQL go on (kill -CONT)' }),
      topology(),
      'PostgreSQL does not answer, or has no right to lead (let its PostgreSQL go on (kill -CONT))',
    ],
    [
      status({ state: 'rejoining', detail: 'cloning 42%' }),
      topology(),
      'PostgreSQL is rejoining (cloning 42%)',
    ],
    [status({ state: 'stopped' }), topology(), 'PostgreSQL is stopped'],
    [
      status({ voteObstacle: 'its disk does not answer' }),
      topology(),
      'the vote of n2 does not count (its disk does not answer)',
    ],
    [status(), nobodyLeads, 'nobody leads this cluster'],
    [
      status({
        measures: {
          peerLatencyMs: null,
          clientLatencyMs: null,
          fsyncMs: null,
          cpuHeadroom: null,
          freeBytes: 5 * MB,
        },
      }),
      topology(),
      'its disk is nearly full: 5 MB free',
    ],
  ])('is not well, and says why (%#)', (own, seen, problem) => {
    expect(judgeHealth(own, seen)).toMatchObject({ ok: false, problems: [problem] });
  });

  it('tells writes and reads apart', () => {
    const leader = status({ node: 'n1', role: 'leader' });
    const any = { bytes: null, ms: null };
    expect(primaryObstacle(leader, topology())).toBeNull();
    expect(primaryObstacle(status(), topology())).toBe('n1 leads');
    expect(primaryObstacle(status(), nobodyLeads)).toBe('nobody leads');
    expect(replicaObstacle(leader, topology(), any)).toBe('it leads');
    expect(replicaObstacle(status(), topology(), any)).toBeNull();
    expect(replicaObstacle(status({ isReceiving: false }), topology(), any)).toBe(
      'it does not stream from n1',
    );
    expect(replicaObstacle(status({ state: 'starting' }), topology(), any)).toBe('PostgreSQL is starting');
    // Where nobody leads, it is as far as anybody is.
    expect(replicaObstacle(status({ isReceiving: false }), nobodyLeads, any)).toBeNull();
  });

  it.each([
    ['hears its leader', 900, 10 * MB, null],
    ['is slow, and still receives', 0, 900 * MB, null],
    ['has all that a leader has whose disk hangs', 60_000, 0, null],
    ['was copied to no measure of the leader', 60_000, null, null],
    ['hangs', 12_400, 1, 'it has received nothing for 12 s, and n1 has more'],
  ])('a follower that %s', (_, silentForMs, unreceivedBytes, problem) => {
    const seen = topology({ nodes: [node('n1'), node('n2', { unreceivedBytes })] });
    const own = status({ silentForMs });
    expect(judgeHealth(own, seen).problems).toEqual(problem === null ? [] : [problem]);
    expect(replicaObstacle(own, seen, { bytes: null, ms: null })).toBe(problem);
    const sources = { events: new Map(), process: { residentBytes: 5, cpuSeconds: 0.5 } };
    const streams = /^lockstep_follower_streaming\{.*\} (\d)$/m.exec(
      renderMetrics({ ...sources, status: own, topology: seen }),
    )?.[1];
    expect(streams).toBe(problem === null ? '1' : '0');
  });

  it('measures a follower by the lag that is asked for', () => {
    const behind = topology({ nodes: [node('n1'), node('n2', { lagBytes: 2 * MB, lagMs: 700 })] });
    const unknown = topology({ nodes: [node('n1'), node('n2', { lagBytes: null, lagMs: null })] });
    const obstacle = (text: string, seen = behind): string | null =>
      replicaObstacle(status(), seen, parseLagLimit(text) ?? { bytes: -1, ms: -1 });
    expect(obstacle('2MB')).toBeNull();
    expect(obstacle('2097151')).toBe('it is 2097152 bytes behind');
    expect(obstacle('1s')).toBeNull();
    expect(obstacle('500ms')).toBe('it is 700 ms behind');
    expect(obstacle('1GB', unknown)).toBe('its lag is not known');
    for (const text of [
      '',
      '-1',
      '1e3',
      '10 MB!',
      '10mb',
      'MB',
      '5h',
      'constructor',
      '1toString',
      '9'.repeat(30),
    ])
      expect(parseLagLimit(text)).toBeNull();
    expect(parseLagLimit(undefined)).toEqual({ bytes: null, ms: null });
  });
});

describe('the metrics of a node', () => {
  const sources = {
    status: status(),
    topology: topology({ cluster: 'a "shop"\\' }),
    events: new Map([['elected', 2]]),
    process: { residentBytes: 5, cpuSeconds: 0.5 },
  };

  it("are in Prometheus' text format, each name once, with its help and type", () => {
    const text = renderMetrics(sources);
    expect(text).toContain('lockstep_leader{cluster="a \\"shop\\"\\\\",node="n2"} 0\n');
    expect(text).toContain('lockstep_replayed_lsn_bytes{cluster="a \\"shop\\"\\\\",node="n2"} 4294967312\n');
    expect(text).toContain('lockstep_disk_fsync_seconds{cluster="a \\"shop\\"\\\\",node="n2"} 0.0025\n');
    expect(text).toContain('node="n2",peer="n3"} 1\n');
    expect(text).toContain('node="n2",kind="elected"} 2\n');
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(
        /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+\{([a-z_]+="([^"\\\n]|\\.)*",?)+\} [\d.e+-]+)$/,
      );
    const types = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(new Set(types).size).toBe(types.length);
    for (const [, name] of text.matchAll(/^([a-z_]+)\{/gm)) expect(types).toContain(name);
  });

  it('have the value that was measured, each another one, and are those that the docs name', () => {
    const measured = {
      ...sources,
      status: status({
        receivedLsn: '0/10',
        replayedLsn: '0/8',
        history: { timeline: 3, ancestors: [] },
        facts: { version: '17.4', pendingRestart: ['max_connections', 'wal_level'] },
      }),
      topology: topology({
        leader: null,
        term: 7,
        isFailoverReady: true,
        isSwitchoverReady: false,
        nodes: [node('n1', { state: 'stopped' }), node('n2', { lagBytes: 11, lagMs: 1_300, sync: true })],
        maintenance: { since: '2026-01-01T00:00:00Z', reason: null },
        syncPolicy: { followers: 2, degradeAfterMs: 3_000, isDegraded: true, confirmedBy: 4, waitsFor: [] },
      }),
    };
    const lines = renderMetrics(measured).matchAll(/^(\w+)\{cluster="\w+",node="n2",?(.*)\} (\S+)$/gm);
    const told = [...lines].map(([, name, labels, value]) => `${name}{${labels}} ${value}`);
    expect(told).toEqual([
      'lockstep_leader{} 0',
      'lockstep_follower_streaming{} 1',
      'lockstep_follower_synchronous{} 1',
      'lockstep_postgres_running{} 1',
      'lockstep_timeline{} 3',
      'lockstep_received_lsn_bytes{} 16',
      'lockstep_replayed_lsn_bytes{} 8',
      'lockstep_lag_bytes{} 11',
      'lockstep_lag_seconds{} 1.3',
      'lockstep_vote_counts{} 1',
      `lockstep_disk_free_bytes{} ${900 * MB}`,
      'lockstep_disk_fsync_seconds{} 0.0025',
      'lockstep_restart_pending_settings{} 2',
      'lockstep_cluster_has_leader{} 0',
      'lockstep_cluster_term{} 7',
      'lockstep_cluster_sync_degraded{} 1',
      'lockstep_cluster_sync_confirmed_by{} 4',
      'lockstep_cluster_sync_waiting{} 0',
      'lockstep_cluster_failover_ready{} 1',
      'lockstep_cluster_paused{} 1',
      'lockstep_cluster_node_up{peer="n1"} 0',
      'lockstep_cluster_node_up{peer="n2"} 1',
      'lockstep_events_total{kind="elected"} 2',
      'lockstep_postgres_info{version="17.4"} 1',
      'process_resident_memory_bytes{} 5',
      'process_cpu_seconds_total{} 0.5',
    ]);
    const page = readFileSync(join(import.meta.dirname, '../../docs/observability.md'), 'utf8');
    const paragraph = /^`\/metrics` has, of this node:[^]*?\n\n/m.exec(page)?.[0] ?? '';
    const named = (text: string): string[] =>
      [...new Set([...text.matchAll(/\b(?:lockstep|process)_\w+/g)].map(([name]) => name))].sort();
    expect(named(paragraph)).toEqual(named(told.join(' ')));
  });

  it('leave out what is not known', () => {
    const {
      measures: _,
      voteObstacle: __,
      ...own
    }: NodeStatus = status({
      receivedLsn: null,
      history: null,
      facts: null,
    });
    const text = renderMetrics({ ...sources, status: own });
    expect(text).not.toMatch(/received_lsn|lockstep_timeline|postgres_info|vote_counts|disk_free|NaN|null/);
  });
});

describe('what a node notices of its disk', () => {
  it('is told once when room gets low, and once when there is room again', () => {
    expect(judgeRoom('well', 65 * MB)).toBe('well');
    expect(judgeRoom('well', 63 * MB)).toBe('low');
    expect(judgeRoom('low', 65 * MB)).toBe('low');
    expect(judgeRoom('low', null)).toBe('low');
    expect(judgeRoom('low', 128 * MB)).toBe('well');
  });

  it('is what PostgreSQL says of damage, one line of each kind', () => {
    const prefix = '2026-11-30 08:01:49.657 UTC [29963] startup ';
    const damage = new DamageReader().read(
      [
        `${prefix}LOG:  incorrect resource manager data checksum in record at 0/18F4160`,
        `${prefix}LOG:  incorrect resource manager data checksum in record at 0/18F4160`,
        `${prefix}WARNING:  page verification failed, calculated checksum 1 but expected 2`,
        `${prefix}LOG:  could not read from file "pg_wal/1${'x'.repeat(1_000)}": Input/output error`,
        `${prefix}LOG:  invalid record length at 0/1802000: wanted 24, got 0`,
      ].join('\n'),
    );
    expect([...damage.values()].map((line) => line.slice(0, 60))).toEqual([
      'LOG:  incorrect resource manager data checksum in record at ',
      'WARNING:  page verification failed, calculated checksum 1 bu',
      `LOG:  could not read from file "pg_wal/1${'x'.repeat(20)}`,
    ]);
    expect([...damage.values()].at(-1)).toHaveLength(300);
    expect(new DamageReader().read('').size).toBe(0);
  });

  it('is not where the log ends after a crash, which each start tells once, also of the same place', () => {
    const reader = new DamageReader();
    const end = (process: number, place: string): string =>
      `2026-11-30 08:01:49.657 UTC [${process}] startup LOG:  incorrect resource manager data checksum in record at ${place}`;
    expect(reader.read([end(1, '0/18F4160'), end(2, '0/18F4160')].join('\n')).size).toBe(0);
    expect(reader.read(end(3, '0/18F4170')).size).toBe(0);
    // Fetched from the leader, and still not to be read.
    expect([...reader.read(end(3, '0/18F4170')).keys()]).toEqual(['its log has a damaged record']);
  });
});

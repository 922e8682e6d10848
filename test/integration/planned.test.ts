import { execFile } from 'node:child_process';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { readClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { NodeTopology, Topology } from '../../src/model/topology.ts';
import { findAgain, findPostgres } from '../../src/postgres/binaries.ts';
import { SUPERUSER } from '../../src/postgres/settings.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { ETCD, EtcdCluster } from './etcd-cluster.ts';
import { until } from './fixture.ts';
import { onLeader } from './numbered-writes.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');

/** The command line, on a cluster without `lockstep dev`. */
async function lockstep(cluster: TestCluster, ...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [main, ...args, '--state', cluster.folder]);
  return stdout;
}

async function refusal(cluster: TestCluster, ...args: string[]): Promise<string> {
  const failure = await lockstep(cluster, ...args).then(
    (stdout) => Promise.reject(new Error(`lockstep ${args.join(' ')} did not fail: ${stdout}`)),
    (error: unknown) => error as { stderr: string; code: number },
  );
  expect(failure.code).toBe(1);
  expect(failure.stderr).not.toMatch(/\n\s+at /);
  return failure.stderr;
}

function nodeOf(topology: Topology, name: string): NodeTopology {
  const node = topology.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) throw new Error(`there is no ${name}`);
  return node;
}

describe('lockstep pause', () => {
  it('elects nobody while PostgreSQL or all of the leader is gone, and goes on after resume', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS id'));

    expect(await lockstep(cluster, 'pause', '--reason', 'new disks')).toMatch(/^Paused: .*resume"\.\n$/);
    expect(await lockstep(cluster, 'status')).toMatch(/pause since .* \(new disks\)/);
    expect(JSON.parse(await lockstep(cluster, 'status', '--json'))).toMatchObject({
      maintenance: { reason: 'new disks' },
    });
    expect(await refusal(cluster, 'pause')).toMatch(/paused already, since .* \(new disks\)/);

    // A switchover is no accident.
    const { to: leader } = await cluster.switchover();
    const { term } = await cluster.untilWhole();

    // All of it is lost for longer than any lease or promise runs, and comes back.
    const others = cluster.nodes.filter((node) => node.name !== leader).map((node) => node.name);
    await cluster.kill(leader);
    await until('the others would have elected one of them', () => haveLostLeader(cluster, others));
    await ticks(cluster, others[0]!, 5);
    expect(await cluster.status()).toMatchObject({ leader: null, term });
    await cluster.start(leader);
    expect((await cluster.untilWhole()).leader).toBe(leader);

    // Only its PostgreSQL ends: its agent neither starts it nor gives the lease up.
    const before = (await cluster.status()).term;
    await cluster.killPostgres(leader);
    await until('PostgreSQL is gone', async () => nodeOf(await cluster.status(), leader).state === 'stopped');
    await ticks(cluster, leader, 5);
    const paused = await cluster.status();
    expect(paused).toMatchObject({ leader: null, term: before });
    expect(nodeOf(paused, leader).state).toBe('stopped');
    expect(await agentLogs(cluster)).toMatch(/paused \(new disks\): nobody is elected/);

    expect(await lockstep(cluster, 'resume')).toMatch(/^Resumed: /);
    const whole = await cluster.untilWhole();
    expect(whole.maintenance).toBeNull();
    expect(whole.term).toBeGreaterThan(before);
    const kept = await onLeader(cluster, (client) => client.query('SELECT id FROM kept'));
    expect(kept.rows).toEqual([{ id: 1 }]);
  });
});

describe('lockstep switchover --at', () => {
  it('is shown, taken back, and run once by whoever leads then', async () => {
    await using cluster = await startTestCluster();
    const [first] = cluster.nodes;
    await lockstep(cluster, 'switchover', '--at', '2100-01-31T03:00:00Z', '--to', first!.name);
    expect(await lockstep(cluster, 'status')).toContain(
      `switchover planned for 2100-01-31T03:00:00.000Z to ${first!.name}`,
    );
    expect(await refusal(cluster, 'switchover', '--at', '2101-01-31T03:00:00Z')).toMatch(/planned already/);
    expect(await refusal(cluster, 'switchover', '--at', '2001-01-31T03:00:00Z')).toMatch(/planned already/);
    await lockstep(cluster, 'switchover', '--cancel');
    expect(await lockstep(cluster, 'status')).not.toContain('planned');
    expect(await refusal(cluster, 'switchover', '--cancel')).toMatch(/No switchover is planned/);
    expect(await refusal(cluster, 'switchover', '--at', '2001-01-31T03:00:00Z')).toMatch(/has passed/);

    const atMs = Date.now() + 20_000;
    await lockstep(cluster, 'switchover', '--at', new Date(atMs).toISOString());
    // Who led when it was planned is another one by then, with a new agent.
    const planner = await cluster.leader();
    await cluster.kill(planner);
    await until('another leads', async () => {
      const { leader } = await cluster.status();
      return leader !== null && leader !== planner;
    });
    await cluster.start(planner);
    const before = await cluster.untilWhole();
    expect(before.plannedSwitchover).toEqual({ at: new Date(atMs).toISOString(), to: null });
    const after = await until(
      'the leadership was handed over',
      async () => {
        const topology = await cluster.status();
        return topology.leader !== null && topology.leader !== before.leader && topology;
      },
      60_000,
    );
    expect(Date.now()).toBeGreaterThanOrEqual(atMs);
    expect(after.term).toBe(before.term + 1);
    const whole = await cluster.untilWhole();
    expect(whole).toMatchObject({ plannedSwitchover: null, leader: after.leader });
    expect((await agentLogs(cluster)).match(/the switchover planned for \S+ begins/g)).toHaveLength(1);
  });
});

describe('lockstep settings', () => {
  it('reach every node, are judged by PostgreSQL, and show what waits for a restart', async () => {
    await using cluster = await startTestCluster();
    expect(await refusal(cluster, 'settings', 'set', 'port=1')).toMatch(/port is set by Lockstep/);
    expect(await refusal(cluster, 'settings', 'set', 'work_mem=lots')).toMatch(
      /does not take work_mem = 'lots': invalid value for parameter "work_mem"/,
    );
    expect(await refusal(cluster, 'settings', 'set', 'wrok_mem=64MB')).toMatch(
      /unrecognized configuration parameter "wrok_mem"/,
    );
    expect(await refusal(cluster, 'settings', 'set', 'max_connections=20')).toMatch(
      /max_connections cannot be lowered to 20: the log was written with 200/,
    );
    expect(await lockstep(cluster, 'settings', 'show')).toBe('Nothing is set for the cluster.\n');

    await lockstep(cluster, 'settings', 'set', 'work_mem=7MB', 'max_connections=250');
    expect(await lockstep(cluster, 'settings', 'show')).toBe('max_connections = 250\nwork_mem = 7MB\n');
    for (const node of cluster.nodes) {
      await until(`${node.name} has the new work_mem`, async () => {
        return (await valueOf(node.dsn, 'work_mem')) === '7MB';
      });
      expect(await valueOf(node.dsn, 'max_connections')).toBe('200');
    }
    const topology = await until('every node says that it waits for a restart', async () => {
      const seen = await cluster.status();
      return seen.nodes.every((node) => node.pendingRestart?.join() === 'max_connections') && seen;
    });
    for (const { name, dsn } of cluster.nodes) {
      const version = (await valueOf(dsn, 'server_version')).split(' ')[0];
      expect(nodeOf(topology, name).postgresVersion).toBe(version);
    }
    expect(await lockstep(cluster, 'status')).toContain('restart pending on n1, n2, n3 for max_connections');

    // A node that comes back takes what was planned, whatever its role is then.
    const leader = await cluster.leader();
    await cluster.kill(leader);
    await cluster.start(leader);
    const { dsn } = cluster.nodes.find((node) => node.name === leader)!;
    await until('it has them', async () => (await valueOf(dsn, 'max_connections')) === '250');
    await cluster.untilWhole();

    await lockstep(cluster, 'settings', 'unset', 'work_mem');
    for (const node of cluster.nodes) {
      await until(`${node.name} has the old work_mem`, async () => {
        return (await valueOf(node.dsn, 'work_mem')) === '4MB';
      });
    }
  });
});

describe('settings that a follower has too low for the log of its leader (I5)', () => {
  it('are raised by its agent, which restarts it for that, whichever of its files has them', async () => {
    await using cluster = await startTestCluster();
    const before = await cluster.leader();
    const [raising, ...rest] = cluster.nodes.filter((node) => node.name !== before);
    const [low] = rest;
    await onLeader(cluster, (client) => client.query('CREATE TABLE kept (id int)'));
    // Behind Lockstep's own, so that these count.
    const configuration = join(low!.folder, 'data', 'postgresql.conf');
    await appendFile(configuration, 'max_connections = 150\nmax_locks_per_transaction = 50\n');
    await lockstep(cluster, 'restart', low!.name);
    expect(await valueOf(low!.dsn, 'max_connections')).toBe('200');
    expect(await valueOf(low!.dsn, 'max_locks_per_transaction')).toBe('64');
    const raisedOnce =
      /runs with what that needs: max_connections 150, needs 200; max_locks_per_transaction 50, needs 64/;
    expect(await agentLogs(cluster)).toMatch(raisedOnce);

    // One that somebody else paused is left as it is.
    const pid = await postmasterOf(low!.folder);
    await asSuperuser(cluster, low!, 'SELECT pg_wal_replay_pause()');
    await ticks(cluster, low!.name, 5);
    expect(await postmasterOf(low!.folder)).toBe(pid);
    await asSuperuser(cluster, low!, 'SELECT pg_wal_replay_resume()');
    await cluster.untilWhole();

    await asSuperuser(cluster, raising!, 'ALTER SYSTEM SET max_connections = 300');
    await lockstep(cluster, 'restart', raising!.name);
    await cluster.untilWhole();
    await cluster.switchover(raising!.name);
    await onLeader(cluster, (client) => client.query('INSERT INTO kept VALUES (1)'));
    for (const { name, dsn } of cluster.nodes) {
      await until(`${name} has the leader's max_connections`, async () => {
        return (await valueOf(dsn, 'max_connections')) === '300';
      });
      await until(`${name} replays`, async () => (await queryOf(dsn, 'SELECT id FROM kept')).length === 1);
    }
    await cluster.untilWhole();
    const told = await agentLogs(cluster);
    expect(told).toMatch(/restarts: the leader's log needs higher settings: max_connections 200, needs 300/);
    expect(told).toMatch(/runs with what that needs: max_connections 150, needs 300/);
  });
});

describe('lockstep restart', () => {
  it('of all nodes in turn takes what waits for it, and fails no write of a client that retries', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    await lockstep(cluster, 'settings', 'set', 'max_connections=250');
    const pool = connect({ connectionString: cluster.url, failoverTimeoutMs: 60_000 });
    let isStopped = false;
    const acknowledged: number[] = [];
    const write = async (): Promise<void> => {
      for (let id = 1; !isStopped; id++) {
        await pool.query({
          text: 'INSERT INTO written VALUES ($1)',
          values: [id],
          idempotencyKey: `written-${id}`,
        });
        acknowledged.push(id);
      }
    };
    const leader = await cluster.leader();
    const writing = write();
    writing.catch(() => undefined);
    try {
      await until('writes flow', () => acknowledged.length > 20);
      const told = await lockstep(cluster, 'restart', '--rolling');
      expect(told.trim().split('\n')).toEqual([
        expect.stringMatching(/^n\d was restarted and has caught up\.$/),
        expect.stringMatching(/^n\d was restarted and has caught up\.$/),
        expect.stringMatching(`^${leader} handed over to n\\d; writes paused for \\d+ ms\\.$`),
        `${leader} was restarted and has caught up.`,
      ]);
      const before = acknowledged.length;
      await until('writes flow', () => acknowledged.length > before + 20);
    } finally {
      isStopped = true;
      // Throws what a write threw.
      await writing.finally(() => pool.end());
    }
    for (const { dsn } of cluster.nodes) expect(await valueOf(dsn, 'max_connections')).toBe('250');
    await until('nothing waits for a restart any more', async () =>
      (await cluster.status()).nodes.every((node) => node.pendingRestart?.length === 0),
    );
    const { rows } = await onLeader(cluster, (client) =>
      client.query<{ id: number }>('SELECT id FROM written ORDER BY id'),
    );
    expect(rows.map((row) => row.id)).toEqual(acknowledged);

    // A library that is nowhere: the first follower does not start, and the others are left alone.
    const now = await cluster.untilWhole();
    const others = cluster.nodes.map((node) => node.name).filter((name) => name !== now.leader);
    await lockstep(cluster, 'settings', 'set', 'shared_preload_libraries=no_such_library');
    const told = await refusal(cluster, 'restart', '--rolling');
    expect(told).toMatch(`Stopped at ${others[0]!}: PostgreSQL in`);
    expect(told).toMatch(/could not access file "no_such_library"/);
    expect(told).toContain(`Not restarted: ${others[1]!}, ${now.leader!}.`);
    expect(await cluster.status()).toMatchObject({ leader: now.leader, term: now.term });
    await lockstep(cluster, 'settings', 'unset', 'shared_preload_libraries');
    await cluster.untilWhole();

    // One node alone; a leader hands over.
    await lockstep(cluster, 'restart', now.leader!);
    expect((await cluster.untilWhole()).leader).not.toBe(now.leader);
  });
});

describe.skipIf(ETCD === null)('the plan in etcd (needs the program etcd)', () => {
  it('is heard by every agent', async () => {
    await using etcd = await EtcdCluster.start({ members: 1 });
    await using cluster = await startTestCluster({
      coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
    });
    await lockstep(cluster, 'settings', 'set', 'work_mem=7MB');
    for (const { name, dsn } of cluster.nodes) {
      await until(`${name} has it`, async () => (await valueOf(dsn, 'work_mem')) === '7MB');
    }
    await lockstep(cluster, 'pause');
    const { leader, term } = await cluster.status();
    await cluster.killPostgres(leader!);
    await until(
      'PostgreSQL is gone',
      async () => nodeOf(await cluster.status(), leader!).state === 'stopped',
    );
    await ticks(cluster, leader!, 5);
    expect(await cluster.status()).toMatchObject({ leader: null, term });
    await lockstep(cluster, 'resume');
    expect((await cluster.untilWhole()).term).toBeGreaterThan(term);
  });
});

describe('the programs for a restart', () => {
  it('are looked for anew, and never of another major', async (context) => {
    const system = await findPostgres('system').catch(() => null);
    const embedded = await findPostgres('embedded').catch(() => null);
    if (system === null || embedded === null || system.major === embedded.major) return context.skip();
    const stale = { ...system, version: `${system.major}.0` };
    expect(await findAgain('system', stale)).toEqual(system);
    // The newest of another major is what "system" finds now, and is not taken.
    expect(await findAgain('system', embedded)).toMatchObject({
      major: embedded.major,
      binDir: embedded.binDir,
    });
    await expect(findAgain('system', { ...embedded, binDir: '/nowhere' })).rejects.toThrow(
      /\/nowhere holds no/,
    );
  });
});

/** One setting as a new connection sees it. */
async function valueOf(dsn: string, name: string): Promise<string> {
  const client = new pg.Client({ connectionString: dsn });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ value: string }>('SELECT current_setting($1) AS value', [name]);
    return rows[0]?.value ?? '';
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function queryOf(dsn: string, text: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: dsn });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function asSuperuser(
  cluster: TestCluster,
  node: { readonly dsn: string },
  text: string,
): Promise<void> {
  const { secrets } = await readClusterConfig(join(cluster.folder, 'cluster.json'));
  const url = new URL(node.dsn);
  [url.username, url.password, url.pathname] = [SUPERUSER, secrets.superuser, '/postgres'];
  await queryOf(url.href, text);
}

async function postmasterOf(folder: string): Promise<number> {
  return Number.parseInt(await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8'), 10);
}

/** Everything that the agents have told, also those of earlier lives. */
async function agentLogs(cluster: TestCluster): Promise<string> {
  const logs = cluster.nodes.map((node) =>
    readFile(join(cluster.folder, 'nodes', node.name, 'agent.log'), 'utf8'),
  );
  return (await Promise.all(logs)).join('\n');
}

/** Whether both followers say that their promise to the leader ran out, and the lease could be taken. */
async function haveLostLeader(cluster: TestCluster, names: readonly string[]): Promise<boolean> {
  const topology = await cluster.status();
  return topology.leader === null && names.every((name) => nodeOf(topology, name).state === 'running');
}

/** Resolves when an agent has told its picture `count` times more: it does so after each round, or each second. */
async function ticks(cluster: TestCluster, name: string, count: number): Promise<void> {
  const node = cluster.nodes.find((candidate) => candidate.name === name);
  const response = await fetch(`${node?.agentUrl}/v1/events`, { signal: AbortSignal.timeout(60_000) });
  let seen = 0;
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    seen += decoder.decode(chunk as Uint8Array).split('event: topology').length - 1;
    if (seen > count) return;
  }
}

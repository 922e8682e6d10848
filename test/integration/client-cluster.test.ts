import { connect as connectSocket, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { Notifications } from '../../src/client/cluster/notifications.ts';
import type { Notification } from '../../src/client/cluster/notifications.ts';
import { resolveOptions } from '../../src/client/resolve-options.ts';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

let cluster: TestCluster;
let pool: LockstepPool;
let leaderName: string;

beforeAll(async () => {
  cluster = await startTestCluster();
  pool = connect({ connectionString: cluster.url, failoverTimeoutMs: 30_000 });
  await pool.topology();
  leaderName = await cluster.leader();
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

class Closing implements AsyncDisposable {
  readonly pool: LockstepPool;

  constructor(opened: LockstepPool) {
    this.pool = opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.end();
  }
}

const notify = (channel: string, payload: string): Promise<unknown> =>
  pool.query('SELECT pg_notify($1, $2)', [channel, payload]);

describe('pool.listen', () => {
  it('hands over what is sent to its channel, whatever its name, until unlisten', async () => {
    const name = 'Odd "name"; DROP TABLE x --';
    const heard: Notification[] = [];
    const subscription = await pool.listen(name, (notification) => heard.push(notification));
    const other = await pool.listen('other', ({ payload }) =>
      heard.push({ channel: '', payload, processId: 0 }),
    );
    await notify(name, 'one');
    await notify('other', 'two');
    await notify('nobody', 'three');
    await until('both', () => heard.length === 2);
    expect(heard[0]).toMatchObject({
      channel: name,
      payload: 'one',
      processId: expect.any(Number) as number,
    });
    await subscription.unlisten();
    await notify(name, 'four');
    await notify('other', 'five');
    await until('the last', () => heard.length === 3);
    expect(heard.map(({ payload }) => payload)).toEqual(['one', 'two', 'five']);
    await other.unlisten();
  });

  it('refuses a name that PostgreSQL would cut', async () => {
    for (const name of ['', 'é'.repeat(32)]) {
      await expect(pool.listen(name, () => undefined)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    }
  });

  it('finds out that its connection died without a word', async () => {
    const leader = cluster.nodes.find(({ name }) => name === leaderName) ?? cluster.nodes[0];
    const isSilent = new Set<Socket>();
    const sockets: Socket[] = [];
    const proxy = createServer((client) => {
      const server = connectSocket(leader?.port ?? 0, '127.0.0.1');
      sockets.push(client, server);
      server.on('data', (chunk) => isSilent.has(client) || client.write(chunk));
      client.on('data', (chunk) => isSilent.has(client) || server.write(chunk));
      for (const socket of [client, server]) socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { connection } = resolveOptions(cluster.url);
    const notifications = new Notifications({
      leadership: () => ({ leader: 'proxy', term: 0, timeline: 1, reason: '' }),
      describeNodes: () => ({}),
      firstError: () => null,
      configOf: () => ({ ...connection, host: '127.0.0.1', port: (proxy.address() as AddressInfo).port }),
      failoverTimeoutMs: 5000,
      heartbeatMs: 100,
      clock: systemClock,
    });
    try {
      const heard: string[] = [];
      const gaps: string[] = [];
      const onGap = (channel: string): void => void gaps.push(channel);
      await notifications.listen('quiet', ({ payload }) => heard.push(payload), { onGap });
      for (const socket of sockets) isSilent.add(socket);
      await notify('quiet', 'lost');
      await until('the gap', () => gaps.length === 1);
      await notify('quiet', 'found');
      await until('the next one', () => heard.length === 1);
      expect([heard, gaps]).toEqual([['found'], ['quiet']]);
    } finally {
      notifications.close();
      for (const socket of sockets) socket.destroy();
      proxy.close();
    }
  });
});

describe('a pool that was told of one server', () => {
  it('takes up the others from the agents, and reads there', async () => {
    await using one = new Closing(connect(cluster.nodes.find(({ name }) => name === leaderName)?.dsn ?? ''));
    await until('all nodes', async () => (await one.pool.topology()).nodes.length === cluster.nodes.length);
    await until('a read on each follower', async () => {
      await one.pool.query('SELECT 1');
      return Object.keys(one.pool.stats().readsByNode).filter((name) => name !== leaderName).length === 2;
    });
    expect((await one.pool.topology()).nodes.map(({ name }) => name).sort()).toEqual(['n1', 'n2', 'n3']);
  });
});

describe('a follower that hangs without closing', () => {
  it('holds up no read for longer than it takes to find it silent, and hedged reads hardly', async () => {
    const follower = cluster.nodes.find(({ name }) => name !== leaderName)?.name ?? '';
    await using hedged = new Closing(connect({ connectionString: cluster.url, hedgeAfterMs: 50 }));
    const longestMs = async (on: LockstepPool): Promise<number> => {
      let longest = 0;
      for (const startedAtMs = performance.now(); performance.now() - startedAtMs < 4000;) {
        const beforeMs = performance.now();
        await on.query('SELECT 1');
        longest = Math.max(longest, performance.now() - beforeMs);
      }
      return longest;
    };
    for (const on of [pool, hedged.pool]) {
      await until('enough reads there', async () => {
        await Promise.all(Array.from({ length: 10 }, () => on.query('SELECT 1')));
        return (on.stats().readsByNode[follower] ?? 0) > 100;
      });
    }
    await cluster.pause(follower);
    const [plainMs, hedgedMs] = await Promise.all([longestMs(pool), longestMs(hedged.pool)]);
    expect(plainMs).toBeLessThan(3500);
    expect(hedgedMs).toBeLessThan(1000);
    expect(hedged.pool.stats().hedged).toBeGreaterThan(0);
    expect(pool.stats().hedged).toBe(0);
    const others = await pool.topology();
    expect(others.nodes.find(({ name }) => name === follower)?.isUp).toBe(false);
    await cluster.resume(follower);
    await until('its return', async () =>
      (await pool.topology()).nodes.some(({ name, isUp }) => name === follower && isUp),
    );
  });
});

describe('a failover', () => {
  it('is followed by those who listen, and they are told of the gap', async () => {
    await cluster.untilWhole();
    const heard: string[] = [];
    const gaps: string[] = [];
    const subscription = await pool.listen('orders', ({ payload }) => heard.push(payload), {
      onGap: (channel) => gaps.push(channel),
    });
    await notify('orders', 'before');
    await until('the first', () => heard.length === 1);
    await cluster.kill(leaderName);
    await until('the gap', () => gaps.length > 0);
    await notify('orders', 'after');
    await until('the second', () => heard.length === 2);
    expect(heard).toEqual(['before', 'after']);
    expect(new Set(gaps)).toEqual(new Set(['orders']));
    await subscription.unlisten();
  });
});

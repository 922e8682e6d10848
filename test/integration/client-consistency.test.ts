import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool, Session } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { formatToken, parseSessionToken } from '../../src/model/token.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { pauseReplay } from './replay-pause.ts';

let cluster: TestCluster;
let pool: LockstepPool;
let leader: string;
let followers: string[];
/** A new cluster's leader has been promoted once. */
let timeline: number;

beforeAll(async () => {
  cluster = await startTestCluster();
  pool = connect({ connectionString: cluster.url });
  await pool.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await pool.query('CREATE TABLE brake ()');
  ({ timeline } = await pool.topology());
  leader = await cluster.leader();
  followers = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

/** What is read outside of the sessions in question must not be held to what the test itself writes. */
const EVENTUAL = { consistency: 'eventual' } as const;

const open = (options: LockstepOptions = {}): LockstepPool & AsyncDisposable =>
  Object.assign(
    connect({ connectionString: cluster.url, failoverTimeoutMs: 30_000, ...EVENTUAL, ...options }),
    {
      async [Symbol.asyncDispose](this: LockstepPool) {
        await this.end();
      },
    },
  );

async function until(what: string, isTrue: () => Promise<boolean> | boolean): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`Not reached within 60 s: ${what}.`);
    await turn();
  }
}

let nextId = 0;
const newId = (): number => (nextId += 1);
const insert = 'INSERT INTO item VALUES ($1, $2)';
const find = 'SELECT v FROM item WHERE id = $1';

describe('an ambient session', () => {
  it('is used by everything inside, and by nothing outside', async () => {
    await using own = open();
    await own.topology();
    await using _replay = await pauseReplay(cluster, pool);
    const ways: ((id: number) => Promise<unknown>)[] = [
      (id) => own.query(insert, [id, 'x']),
      (id) => own.leader.query(insert, [id, 'x']),
      (id) => own.transaction((transaction) => transaction.query(insert, [id, 'x'])),
      (id) => own.transaction([{ text: insert, values: [id, 'x'] }]),
      async (id) => {
        const client = await own.connect();
        await client.query('BEGIN');
        await client.query(insert, [id, 'x']);
        await client.query('COMMIT');
        client.release();
      },
      async (id) => {
        const client = await own.connect();
        await client.query(insert, [id, 'x']);
        client.release();
      },
    ];
    for (const [index, write] of ways.entries()) {
      const id = newId();
      const token = await own.withSession({}, async (session) => {
        await write(id);
        expect((await own.query(find, [id])).rows, `way ${index}`).toHaveLength(1);
        const client = await own.connect();
        expect((await client.query(find, [id])).rows, `way ${index}`).toHaveLength(1);
        client.release();
        return session.token;
      });
      expect(token).not.toBeNull();
      expect((await own.query(find, [id])).rows).toEqual([]);
      expect(await own.withSession({}, async () => (await own.query(find, [id])).rows)).toEqual([]);
    }
  });

  it('gives way to an inner one, which stands alone', async () => {
    await using own = open();
    await own.withSession({}, async (outer) => {
      await own.withSession({}, async (inner) => {
        await own.query(insert, [newId(), 'x']);
        expect(inner.token).not.toBeNull();
      });
      expect(outer.token).toBeNull();
      await own.withSession(outer, () => own.query(insert, [newId(), 'x']));
      expect(outer.token).not.toBeNull();
    });
  });
});

/** A new pool knows of no follower how fresh it is. */
async function untilFollowersServe(own: LockstepPool, maxStalenessMs: number): Promise<void> {
  await until('followers are known to be fresh', async () => {
    await own.query({ text: 'SELECT 1 FROM item', maxStalenessMs });
    const { readsByNode } = own.stats();
    return followers.every((name) => (readsByNode[name] ?? 0) > 0);
  });
}

describe('bounded staleness', () => {
  it('is kept by going to the leader when followers stand still', async () => {
    await using own = open();
    // What is not known to have been fresh before replay stands still never will be.
    await untilFollowersServe(own, 60_000);
    await using _replay = await pauseReplay(cluster, pool);
    const id = newId();
    await own.query(insert, [id, 'x']);
    const writtenAtMs = performance.now();
    const read = async (maxStalenessMs: number): Promise<number> =>
      (await own.query({ text: find, values: [id], maxStalenessMs })).rows.length;
    // The followers lack it, and may for so long.
    await until('a follower that is known to be fresh enough', async () => (await read(60_000)) === 0);
    await until('the bound is reached', () => performance.now() - writtenAtMs > 1000);
    expect(await read(1000)).toBe(1);
    const session = own.session({ maxStalenessMs: 1000 });
    expect((await session.query(find, [id])).rows).toHaveLength(1);
    expect(await own.withSession({ maxStalenessMs: 1000 }, () => own.query(find, [id]))).toMatchObject({
      rowCount: 1,
    });
    expect(await read(60_000)).toBe(0);
  });

  it('is served by followers that keep up', async () => {
    await using own = open();
    await untilFollowersServe(own, 2000);
    const before = own.stats().readsByNode[leader] ?? 0;
    for (let count = 0; count < 50; count += 1)
      await own.query({ text: 'SELECT 1 FROM item', maxStalenessMs: 2000 });
    expect((own.stats().readsByNode[leader] ?? 0) - before).toBeLessThan(10);
    await expect(own.query({ text: 'SELECT 1', maxStalenessMs: -1 })).rejects.toThrow(/maxStalenessMs/);
  });
});

describe('a token that the cluster never gave', () => {
  it.each([
    ['far ahead on the timeline', () => `${timeline}-FFFFFFF0/0`],
    ['on a later timeline', () => `${timeline + 5}-0/1`],
    ['on the last timeline there can be', () => '4294967295-FFFFFFFF/0'],
  ])('%s is set back, at once', async (_name, make) => {
    await using own = open();
    await own.topology();
    const session = own.session({ token: make() });
    const startedAtMs = performance.now();
    for (let count = 0; count < 20; count += 1) await session.query('SELECT 1 FROM item');
    expect(performance.now() - startedAtMs).toBeLessThan(5000);
    expect(session.token).toMatch(new RegExp(`^${timeline}-0/[0-9A-F]+$`));
    const { tokensDisproved, readsByNode } = own.stats();
    expect(tokensDisproved).toBe(1);
    expect(readsByNode[leader] ?? 0).toBeLessThan(5);
  });

  it('does not shadow what the session has really seen', async () => {
    await using own = open();
    await using _replay = await pauseReplay(cluster, pool);
    const session = own.session({ token: `${timeline}-FFFFFFF0/0` });
    const id = newId();
    await session.query(insert, [id, 'x']);
    expect((await session.query(find, [id])).rows).toHaveLength(1);
  });
});

describe('a failover', () => {
  it('tells the session whose write it lost, once, and no other', async () => {
    await using own = open();
    await using elsewhere = open();
    const write = async (durability: 'sync' | 'async'): Promise<Session> => {
      const session = own.session();
      const config = { text: insert, values: [newId(), durability], durability };
      await session.query(config);
      return session;
    };
    const sync = await write('sync');
    const kept = await write('async');
    const reader = own.session();
    await reader.query('SELECT 1 FROM item');
    // What is synchronous is on a follower, and so is what was written before it.
    await write('sync');
    await Promise.all(followers.map((name) => cluster.kill(name)));
    let lost = await write('async');
    // Two probes that saw the leader past what followers have, so that the next write surely is. On a busy machine
    // there may be no time for them: a leader that nobody follows holds still soon.
    const hasSeenPast = async (): Promise<boolean> => {
      const { seen } = parseSessionToken(lost.token ?? '');
      const deadlineMs = performance.now() + 300;
      while (performance.now() < deadlineMs) {
        const { lsn } = (await own.topology()).nodes.find(({ role }) => role === 'leader') ?? { lsn: null };
        if (lsn === null) return false;
        if (parseLsn(lsn) >= seen.lsn) return true;
        await turn();
      }
      return false;
    };
    let isCertain = true;
    for (let round = 0; round < 2 && isCertain; round += 1) {
      const next = hasSeenPast().then((has) => (has ? write('async') : null));
      const written = await Promise.race([next.catch(() => null), delay(600, null)]);
      isCertain = written !== null;
      lost = written ?? lost;
    }
    const { token } = lost;
    expect(token).toMatch(new RegExp(`^${timeline}-([0-9A-F]+/[0-9A-F]+)-${timeline}-\\1$`));
    expect(sync.token).toMatch(/^\d+-[0-9A-F]+\/[0-9A-F]+$/);
    await cluster.kill(leader);
    await Promise.all(followers.map((name) => cluster.start(name)));

    const gone = { code: 'WRITE_LOST', outcome: 'not-applied', retryable: false };
    await expect(lost.query('SELECT 1 FROM item')).rejects.toMatchObject({
      ...gone,
      details: {
        write: formatToken(parseSessionToken(token ?? '').seen),
        isCertain: isCertain || expect.any(Boolean),
        timeline: timeline + 1,
        forkedAt: expect.stringMatching(/^0\/[0-9A-F]+$/),
      },
    });
    expect((await lost.query('SELECT v FROM item WHERE v = $1', ['sync'])).rows.length).toBeGreaterThan(1);
    expect(lost.token).toMatch(new RegExp(`^${timeline + 1}-[0-9A-F]+/[0-9A-F]+$`));
    const handedOn = elsewhere.session({ token: token ?? undefined });
    await expect(handedOn.transaction((transaction) => transaction.query('SELECT 1'))).rejects.toMatchObject(
      gone,
    );
    await handedOn.transaction((transaction) => transaction.query('SELECT 1'));
    for (const session of [sync, kept, reader]) await session.query(insert, [newId(), 'after']);
    // Writes follow reads: what the session had read before is below what it writes now.
    expect(reader.token).toMatch(new RegExp(`^${timeline + 1}-`));
    const { rows } = await own.leader.query(`SELECT v, count(*)::int AS n FROM item GROUP BY v`);
    expect(rows).toContainEqual({ v: 'after', n: 3 });
    expect(rows).toContainEqual({ v: 'async', n: 1 });
  });
});

import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect, LockstepPool } from '../../src/index.ts';
import type { LockstepOptions } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';

let cluster: TestCluster;
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster();
  const setup = open();
  await setup.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await setup.query({ text: `INSERT INTO item VALUES (0, 'seen')`, durability: 'sync' });
  await setup.end();
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

beforeEach(async () => {
  await reopen();
});

afterEach(async () => {
  if (!pool.ending) await pool.end();
});

/** Another pool for this test, which has looked at every server. */
async function reopen(options: LockstepOptions = {}): Promise<void> {
  if (pool !== undefined && !pool.ending) await pool.end();
  pool = open(options);
  await pool.topology();
}

function open(options: LockstepOptions = {}): LockstepPool {
  return connect({ connectionString: cluster.url, ...options });
}

describe('pool.transaction', () => {
  it('commits, rolls back, and runs again on a serialization failure', async () => {
    const insert = (id: number) =>
      pool.transaction((transaction) => transaction.query('INSERT INTO item VALUES ($1)', [id]));
    await insert(100);
    await expect(insert(100)).rejects.toMatchObject({ code: '23505' });
    const failing = pool.transaction(async (transaction) => {
      await transaction.query('INSERT INTO item VALUES (101)');
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    expect((await pool.leader.query('SELECT id FROM item WHERE id > 99')).rows).toEqual([{ id: 100 }]);

    let runs = 0;
    // As other libraries write it.
    const isolation = 'SERIALIZABLE' as 'serializable';
    await pool.transaction(
      async (transaction) => {
        runs += 1;
        const { rows } = await transaction.query('SELECT count(*)::int AS n FROM item');
        if (runs === 1) await pool.query(`UPDATE item SET v = 'y' WHERE id = 100`);
        await transaction.query('UPDATE item SET v = $1 WHERE id = 100', [rows[0].n]);
      },
      { isolation },
    );
    expect(runs).toBe(2);
  });

  it('does not report a transaction as committed whose error its function swallowed', async () => {
    const swallowing = pool.transaction(async (transaction) => {
      await transaction.query('INSERT INTO item VALUES (102)');
      await transaction.query('SELECT 1 / 0').catch(() => undefined);
    });
    await expect(swallowing).rejects.toMatchObject({ code: '22012' });
    expect((await pool.leader.query('SELECT id FROM item WHERE id = 102')).rows).toEqual([]);
  });

  it('begins and ends by itself', async () => {
    const committing = pool.transaction((transaction) => transaction.query('COMMIT'));
    await expect(committing).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(pool.transaction(async () => 1, { isolation: 'dirty' as never })).rejects.toThrow(
      /not an isolation/,
    );
    await expect(pool.transaction(async () => 1, { durability: 'fast' as never })).rejects.toThrow(
      /not a durability/,
    );
    await expect(
      pool.transaction((transaction) => transaction.query('INSERT INTO item VALUES (103)'), {
        readOnly: true,
      }),
    ).rejects.toMatchObject({ code: '25006' });
  });

  it('begins with its first statement, also after one that cannot be sent', async () => {
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const failing = pool.transaction(async (transaction) => {
      await expect(transaction.query('SELECT $1::json', [cyclic])).rejects.toThrow(/circular/i);
      await transaction.query('INSERT INTO item VALUES (110)');
      throw new Error('the app gives up');
    });
    await expect(failing).rejects.toThrow('the app gives up');
    expect((await pool.leader.query('SELECT FROM item WHERE id = 110')).rowCount).toBe(0);
    expect(await pool.transaction(async () => 'nothing sent')).toBe('nothing sent');
  });

  it('begins also where its first text holds several statements', async () => {
    const failing = pool.transaction(async (transaction) => {
      await transaction.query('INSERT INTO item VALUES (111); INSERT INTO item VALUES (112)');
      throw new Error('the app gives up');
    });
    await expect(failing).rejects.toThrow('the app gives up');
    expect((await pool.leader.query('SELECT FROM item WHERE id IN (111, 112)')).rowCount).toBe(0);
  });

  it('fails as a whole when BEGIN does, and runs none of its statements', async () => {
    const failing = pool.transaction(
      async (transaction) => {
        await transaction.query('INSERT INTO item VALUES (113)').catch(() => undefined);
        await transaction.query('INSERT INTO item VALUES (114)').catch(() => undefined);
      },
      { isolation: 'read committed', readOnly: true },
    );
    await expect(failing).rejects.toMatchObject({ code: '25006' });
    expect((await pool.leader.query('SELECT FROM item WHERE id IN (113, 114)')).rowCount).toBe(0);
  });
});

describe('a transaction of statements known in advance', () => {
  const insert = (id: number): pg.QueryConfig => ({ text: 'INSERT INTO item VALUES ($1)', values: [id] });

  it('answers each statement, takes a durability, and moves its session on', async () => {
    const session = pool.session();
    const [inserted, read, setting] = await session.transaction(
      [
        insert(120),
        { text: 'SELECT id FROM item WHERE id = $1', values: [120] },
        { text: 'SHOW synchronous_commit' },
      ],
      { durability: 'visible', isolation: 'serializable' },
    );
    expect(inserted).toMatchObject({ command: 'INSERT', rowCount: 1 });
    expect(read?.rows).toEqual([{ id: 120 }]);
    expect(setting?.rows).toEqual([{ synchronous_commit: 'remote_apply' }]);
    expect(session.token).not.toBeNull();
    expect((await session.query('SELECT FROM item WHERE id = 120')).rowCount).toBe(1);
    expect(await pool.transaction([])).toEqual([]);
  });

  it('has no effect when a statement fails, and leaves the connection usable', async () => {
    await reopen({ max: 1 });
    const failing = pool.transaction([insert(121), insert(0), insert(122)]);
    await expect(failing).rejects.toMatchObject({ code: '23505' });
    expect((await pool.leader.query('SELECT FROM item WHERE id IN (121, 122)')).rowCount).toBe(0);
    await pool.transaction([insert(123), { name: 'again', ...insert(124) }]);
    await pool.transaction([{ name: 'again', ...insert(125) }]);
    expect((await pool.leader.query('SELECT FROM item WHERE id IN (123, 124, 125)')).rowCount).toBe(3);
  });

  it('is refused as a whole where a statement cannot be sent or does not belong', async () => {
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const unsendable = [insert(126), { text: 'SELECT $1::json', values: [cyclic] }];
    await expect(pool.transaction(unsendable)).rejects.toThrow(/circular/i);
    await expect(pool.transaction([insert(126), { text: 'COMMIT' }])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    await expect(pool.transaction([insert(126), { text: 'SELECT 1; SELECT 2' }])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    expect((await pool.leader.query('SELECT FROM item WHERE id = 126')).rowCount).toBe(0);
  });
});

describe('a transaction that is begun and ended by query()', () => {
  const refused = { code: 'CONFIG_INVALID', outcome: 'not-applied', retryable: false };
  const rowsOf = async (id: number): Promise<number> =>
    (await pool.leader.query('SELECT id FROM item WHERE id = $1', [id])).rows.length;

  it.each([
    'BEGIN',
    'START TRANSACTION ISOLATION LEVEL SERIALIZABLE',
    '/* all or nothing */ commit;',
    'END',
    'ROLLBACK',
    'ABORT',
    'SAVEPOINT a',
    'RELEASE a',
    'ROLLBACK TO a',
    "PREPARE TRANSACTION 'a'",
  ])('is refused at %s, since what is between would commit by itself', async (text) => {
    const calls = [
      pool.query(text),
      pool.query({ text, durability: 'sync' }),
      pool.leader.query(text),
      pool.follower.query(text),
      pool.session().query(text),
      pool.withSession({}, () => pool.query(text)),
      new Promise((resolve, reject) => {
        pool.query(text, (error: Error | undefined) => (error ? reject(error) : resolve(null)));
      }),
      pool.query(new pg.Query(text) as never),
    ];
    for (const call of calls) {
      const message = expect.stringMatching(/^Use pool\.transaction\(\), or a client of pool\.connect\(\)/);
      await expect(call).rejects.toMatchObject({ ...refused, message });
    }
  });

  it('is refused also where the URL has one host', async () => {
    const one = connect(cluster.nodes[0]?.dsn);
    try {
      await expect(one.query('BEGIN')).rejects.toMatchObject(refused);
    } finally {
      await one.end();
    }
  });

  it('may stand whole in one text, and two-phase commit ends alone', async () => {
    await pool.query('BEGIN; INSERT INTO item VALUES (140); COMMIT');
    await pool.query('BEGIN; INSERT INTO item VALUES (141); ROLLBACK');
    expect([await rowsOf(140), await rowsOf(141)]).toEqual([1, 0]);
    for (const verb of ['COMMIT', 'ROLLBACK'])
      await expect(pool.query(`${verb} PREPARED 'none'`)).rejects.toMatchObject({ code: '42704' });
  });

  it('that a text leaves open is undone, and the text refused', async () => {
    const open = pool.query('BEGIN; INSERT INTO item VALUES (145)');
    await expect(open).rejects.toMatchObject({ code: 'CONFIG_INVALID', outcome: 'unknown' });
    await pool.query(new pg.Query('BEGIN; SET search_path = none') as unknown as pg.Submittable);
    expect(await rowsOf(145)).toBe(0);
  });

  it('works on a client, savepoints included', async () => {
    const client = await pool.connect();
    try {
      for (const text of ['BEGIN', 'SAVEPOINT a', 'INSERT INTO item VALUES (142)', 'ROLLBACK TO a'])
        await client.query(text);
      for (const text of ['INSERT INTO item VALUES (143)', 'COMMIT']) await client.query(text);
    } finally {
      client.release();
    }
    expect([await rowsOf(142), await rowsOf(143)]).toEqual([0, 1]);
  });

  it('is pg’s own for one server, as `new LockstepPool()` promises', async () => {
    const name = await cluster.leader();
    const connectionString = cluster.nodes.find((node) => node.name === name)?.dsn;
    const single = new LockstepPool({ connectionString, max: 1 });
    try {
      for (const text of ['BEGIN', 'INSERT INTO item VALUES (144)', 'ROLLBACK']) await single.query(text);
      await expect(single.session().query('BEGIN')).rejects.toMatchObject(refused);
    } finally {
      await single.end();
    }
    expect(await rowsOf(144)).toBe(0);
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';

let cluster: TestCluster;
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());
afterEach(() => pool?.end());

/** A pool of one connection, so that what it has prepared can be seen on it. */
async function open(table: string, options: LockstepOptions = {}): Promise<void> {
  pool = connect({ connectionString: cluster.url, max: 1, ...options });
  await pool.query(`CREATE TABLE ${table} (id int PRIMARY KEY, v text)`);
  await pool.query(`INSERT INTO ${table} SELECT n, 'v' || n FROM generate_series(1, 9) AS n`);
}

async function preparedTexts(like: string): Promise<string[]> {
  const { rows } = await pool.leader.query({
    text: 'SELECT statement FROM pg_prepared_statements WHERE statement LIKE $1 ORDER BY 1',
    values: [like],
    // An own name keeps the question from being prepared by the pool itself.
    name: 'question',
  });
  return rows.map(({ statement }: { statement: string }) => statement);
}

async function repeat(times: number, run: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 1; n <= times; n += 1) await run(n);
}

describe('a statement that is sent again and again', () => {
  it('is prepared at its fifth use, and only where it has parameters', async () => {
    await open('a');
    const text = 'SELECT v FROM a WHERE id = $1';
    await repeat(4, (n) => pool.query(text, [n]));
    expect(await preparedTexts('%FROM a %')).toEqual([]);
    await pool.query(text, [5]);
    expect(await preparedTexts('%FROM a %')).toEqual([text]);
    expect((await pool.query(text, [6])).rows).toEqual([{ v: 'v6' }]);
    await repeat(6, () => pool.query('SELECT v FROM a WHERE id = 1'));
    expect(await preparedTexts('%FROM a %')).toEqual([text]);
  });

  it('is not where the app says never', async () => {
    await open('b', { prepareAfter: 0 });
    await repeat(9, (n) => pool.query('SELECT v FROM b WHERE id = $1', [n]));
    expect(await preparedTexts('%FROM b %')).toEqual([]);
  });

  it('answers as a new one after its table has changed', async () => {
    await open('c');
    const text = 'SELECT * FROM c WHERE id = $1';
    await repeat(6, (n) => pool.query(text, [n]));
    await pool.query('ALTER TABLE c ADD COLUMN more int DEFAULT 7');
    expect((await pool.query(text, [1])).rows).toEqual([{ id: 1, v: 'v1', more: 7 }]);
    await repeat(6, (n) => pool.query(text, [n]));
    await pool.query('ALTER TABLE c ALTER COLUMN id TYPE text');
    expect((await pool.query(text, ['1'])).rows).toEqual([{ id: '1', v: 'v1', more: 7 }]);
    await repeat(6, (n) => pool.query(text, [String(n)]));
    await pool.query('DROP TABLE c');
    await expect(pool.query(text, ['1'])).rejects.toMatchObject({ code: '42P01' });
  });

  it('answers as a new one where its name was dropped behind the pool’s back', async () => {
    await open('d');
    const text = 'UPDATE d SET v = $2 WHERE id = $1';
    await repeat(6, (n) => pool.query(text, [n, 'w']));
    await pool.query(`DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$`);
    expect((await pool.query(text, [7, 'once'])).rowCount).toBe(1);
    expect((await pool.query('SELECT v FROM d WHERE id = 7')).rows).toEqual([{ v: 'once' }]);
  });

  it('makes its transaction run again, in both forms', async () => {
    await open('e');
    const text = 'SELECT * FROM e WHERE id = $1';
    await repeat(6, (n) => pool.query(text, [n]));
    await pool.query('ALTER TABLE e ADD COLUMN more int');
    let runs = 0;
    const rows = await pool.transaction(
      async (transaction) => {
        runs += 1;
        await transaction.query('UPDATE e SET v = $1 WHERE id = 1', ['changed']);
        return (await transaction.query(text, [1])).rows;
      },
      { retry: false },
    );
    expect(rows).toEqual([{ id: 1, v: 'changed', more: null }]);
    expect(runs).toBe(2);
    await repeat(6, (n) => pool.query(text, [n]));
    await pool.query('ALTER TABLE e DROP COLUMN more');
    const [read] = await pool.transaction([{ text, values: [2] }], { retry: false });
    expect(read?.rows).toEqual([{ id: 2, v: 'v2' }]);
  });

  it('keeps no more than 500 on a connection', async () => {
    await open('f', { prepareAfter: 1 });
    await repeat(560, (n) => pool.query(`SELECT v, ${n} FROM f WHERE id = $1`, [1]));
    const texts = await preparedTexts('%FROM f %');
    expect(texts.length).toBeGreaterThan(200);
    expect(texts.length).toBeLessThanOrEqual(500);
    expect(texts).toContain('SELECT v, 560 FROM f WHERE id = $1');
    expect((await pool.query('SELECT v, 1 FROM f WHERE id = $1', [2])).rows[0]).toMatchObject({ v: 'v2' });
  });
});

import pg from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { describe, expect, it } from 'vitest';
import type { LockstepPool } from '../../src/index.ts';
import { until } from '../integration/fixture.ts';
import type { PoolKind } from './pool-kinds.ts';

interface Outcome {
  readonly error: Error | undefined;
  readonly result: pg.QueryResult | undefined;
}

/** The answer in callback style; fails when a promise comes back besides. */
function call(
  start: (callback: (error: Error, result: pg.QueryResult) => void) => unknown,
): Promise<Outcome> {
  return new Promise((resolve) => {
    let isSynchronous = true;
    const returned = start((error, result) => {
      expect(isSynchronous).toBe(false);
      resolve({ error, result });
    });
    isSynchronous = false;
    expect(returned).toBeUndefined();
  });
}

/** How pool.query answers, whatever it is asked. */
export function describeQueries(kind: PoolKind): void {
  async function withPool<T>(work: (pool: LockstepPool) => Promise<T>, options = {}): Promise<T> {
    const pool = kind.create(options);
    try {
      return await work(pool);
    } finally {
      await pool.end();
    }
  }

  describe('query', () => {
    it('takes text, values, a config, a name and rows as arrays', async () => {
      await withPool(async (pool) => {
        expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
        expect((await pool.query('SELECT $1::text AS name', ['bolt'])).rows).toEqual([{ name: 'bolt' }]);
        const config = { text: 'SELECT $1::int + 1 AS next', values: [41] };
        expect((await pool.query(config)).rows).toEqual([{ next: 42 }]);
        expect((await pool.query({ ...config, name: 'next' }, [1])).rows).toEqual([{ next: 2 }]);
        const { rows, fields, rowCount, command } = await pool.query({
          ...config,
          rowMode: 'array' as const,
        });
        expect(rows).toEqual([[42]]);
        expect(fields.map((field) => field.name)).toEqual(['next']);
        expect([rowCount, command]).toEqual([1, 'SELECT']);
      });
    });

    it('calls back, never at once, and returns no promise then', async () => {
      await withPool(async (pool) => {
        const bare = await call((done) => pool.query('SELECT 1 AS one', done));
        expect(bare.error).toBeUndefined();
        expect(bare.result?.rows).toEqual([{ one: 1 }]);
        const withValues = await call((done) => pool.query('SELECT $1::text AS name', ['bolt'], done));
        expect(withValues.result?.rows).toEqual([{ name: 'bolt' }]);
        const wrong = await call((done) => pool.query('SELECT nonsense', done));
        expect(wrong.error).toMatchObject({ code: '42703' });
        expect(wrong.result).toBeUndefined();
      });
    });

    it('runs many at a time, through as many connections as there may be', async () => {
      await withPool(
        async (pool) => {
          const query = { text: 'SELECT $1::text AS name', values: ['bolt'] };
          const answers = await Promise.all(Array.from({ length: 30 }, () => pool.query(query)));
          expect(answers.map(({ rows }) => rows)).toEqual(answers.map(() => [{ name: 'bolt' }]));
        },
        { max: 9 },
      );
    });

    it('refuses what is no query', async () => {
      await withPool(async (pool) => {
        await expect(pool.query(null as never)).rejects.toBeInstanceOf(Error);
        const refusal = await call((done) => pool.query(done as never));
        expect(refusal.error?.message).toContain('function');
      });
    });

    it('passes errors on, and works on after them', async () => {
      await withPool(
        async (pool) => {
          const wrong = Array.from({ length: 20 }, () =>
            pool.query("SELECT 'a' + 1").catch((e: unknown) => e),
          );
          for (const error of await Promise.all(wrong)) expect(error).toBeInstanceOf(pg.DatabaseError);
          for (let attempt = 0; attempt < 20; attempt += 1)
            await expect(pool.query('no SQL')).rejects.toMatchObject({ code: '42601' });
          expect(pool.waitingCount).toBe(0);
          expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
        },
        { max: 1 },
      );
    });

    it('hands a cursor and a stream their rows', async () => {
      const rowsOf = async (stream: AsyncIterable<{ n: number }>): Promise<number[]> => {
        const numbers: number[] = [];
        for await (const { n } of stream) numbers.push(n);
        return numbers;
      };
      await withPool(async (pool) => {
        const client = await pool.connect();
        const cursor = client.query(new Cursor<{ n: number }>('SELECT n FROM generate_series(1, 5) AS n'));
        expect(await cursor.read(2)).toEqual([{ n: 1 }, { n: 2 }]);
        expect(await cursor.read(10)).toEqual([{ n: 3 }, { n: 4 }, { n: 5 }]);
        await cursor.close();
        const stream = client.query(new QueryStream('SELECT n FROM generate_series(1, 300) AS n'));
        expect(await rowsOf(stream as AsyncIterable<{ n: number }>)).toHaveLength(300);
        expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
        client.release();
        const query = new pg.Query('SELECT 7 AS seven') as unknown as pg.Submittable;
        expect(await (pool.query(query) as unknown as Promise<pg.QueryResult>)).toMatchObject({
          rows: [{ seven: 7 }],
        });
      });
    });

    // With one server it is pg's own client, whose close() and streams never settle then.
    it.skipIf(kind.isSingleServer)('settles cursors and streams whose connection ends', async () => {
      await withPool(async (pool) => {
        const hundred = 'SELECT generate_series(1, 100) AS n';
        const cut = async (client: pg.PoolClient): Promise<void> => {
          const ended = new Promise((resolve) => client.once('error', resolve));
          const { processID } = client as unknown as { processID: number };
          await pool.leader.query('SELECT pg_terminate_backend($1)', [processID]);
          await ended;
        };
        const uses: readonly ((client: pg.PoolClient) => Promise<unknown>)[] = [
          async (client) => {
            const cursor = client.query(new Cursor(hundred));
            await cursor.read(2);
            await cut(client);
            await expect(cursor.read(2)).rejects.toMatchObject({ code: '57P01' });
            await cursor.close();
          },
          async (client) => {
            const cursor = client.query(new Cursor(`${hundred}, pg_sleep(1)`));
            const reading = expect(cursor.read(100)).rejects.toMatchObject({ code: '57P01' });
            await until(
              'it to run',
              () => (client as unknown as { processID: number | null }).processID !== null,
            );
            await cut(client);
            await reading;
          },
          async (client) => {
            const stream = client.query(new QueryStream('SELECT generate_series(1, 100000) AS n'));
            const read = async (): Promise<void> => {
              let rows = 0;
              for await (const _row of stream) if ((rows += 1) === 150) await cut(client);
            };
            await expect(read()).rejects.toMatchObject({ code: '57P01' });
          },
        ];
        for (const use of uses) {
          const client = await pool.connect();
          client.on('error', () => undefined);
          await use(client);
          client.release();
        }
      });
    });
  });
}

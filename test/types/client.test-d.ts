import type pg from 'pg';
import type { ClientBase, Pool, PoolClient, Query, QueryArrayResult, QueryResult } from 'pg';
import { describe, expectTypeOf, it } from 'vitest';
import { connect, LockstepClient, LockstepPool } from '../../src/index.ts';
import type {
  Durability,
  DurabilityName,
  LockstepPoolOptions,
  Session,
  Transaction,
} from '../../src/index.ts';

declare function takesPool(pool: Pool): void;
declare const pool: LockstepPool;
declare const cursor: Query;
declare const session: Session;

describe('LockstepPool', () => {
  it('is accepted where pg.Pool is wanted', () => {
    expectTypeOf<LockstepPool>().toExtend<Pool>();
    expectTypeOf(takesPool).toBeCallableWith(pool);
    expectTypeOf(connect).returns.toEqualTypeOf<LockstepPool>();
    expectTypeOf<InstanceType<typeof pg.Pool>>().toEqualTypeOf<Pool>();
  });

  it('takes what pg.Pool takes, and what Lockstep adds', () => {
    expectTypeOf<pg.PoolConfig>().toExtend<LockstepPoolOptions>();
    expectTypeOf(new LockstepPool()).toEqualTypeOf<LockstepPool>();
    expectTypeOf<ConstructorParameters<typeof LockstepPool>[1]>().toEqualTypeOf<
      typeof pg.Client | undefined
    >();
    // @ts-expect-error -- a typo
    void new LockstepPool({ failoverTimeout: 1 });
  });

  it('types results as pg does', () => {
    expectTypeOf(pool.query<{ id: number }>('SELECT 1', [1])).resolves.toEqualTypeOf<
      QueryResult<{ id: number }>
    >();
    expectTypeOf(pool.query<[number]>({ text: '', rowMode: 'array' })).resolves.toEqualTypeOf<
      QueryArrayResult<[number]>
    >();
    expectTypeOf(pool.connect()).resolves.toEqualTypeOf<PoolClient>();
    expectTypeOf(pool.leader.query<{ id: number }>('')).resolves.toEqualTypeOf<QueryResult<{ id: number }>>();
  });

  it("keeps pg's other forms of query, also for a subclass", () => {
    expectTypeOf(pool.query(cursor)).toEqualTypeOf<Query>();
    expectTypeOf(pool.query('', [1], (_error, result) => void result.rows)).toEqualTypeOf<void>();
    // @ts-expect-error -- a typo
    void pool.query({ text: '', durabilty: 'sync' });
    class Traced extends LockstepPool {
      override query(...call: any[]): any {
        return super.query(call[0], call[1]);
      }
    }
    expectTypeOf<Traced>().toExtend<Pool>();
  });

  it('takes a durability in a config, a built-in one or a policy', () => {
    expectTypeOf(pool.query({ text: '', durability: 'async' })).resolves.toExtend<QueryResult>();
    expectTypeOf(
      session.query({ text: '', durability: 'order', durabilityTimeoutMs: 1 }),
    ).resolves.toExtend<QueryResult>();
    expectTypeOf<Durability>().toExtend<DurabilityName>();
    connect({ hosts: [], durability: { order: 'visible' } });
    // @ts-expect-error -- a policy stands for a built-in durability
    connect({ hosts: [], durability: { order: 'fast' } });
    // @ts-expect-error -- not a durability's name
    void pool.query({ text: '', durability: 1 });
    // @ts-expect-error -- a transaction commits as a whole
    void pool.transaction((transaction: Transaction) => transaction.query({ text: '', durability: 'sync' }));
    // @ts-expect-error -- not an isolation
    void pool.transaction(async () => 1, { isolation: 'dirty' });
  });

  it('types a batch by its statements: each has its result', () => {
    const answers = session.transaction([
      { text: 'SELECT 1', values: [1] },
      { text: '', rowMode: 'array' },
    ]);
    expectTypeOf(answers).resolves.toEqualTypeOf<[QueryResult, QueryArrayResult]>();
    const statements: pg.QueryConfig[] = [];
    expectTypeOf(pool.transaction(statements, { durability: 'sync' })).resolves.toEqualTypeOf<
      QueryResult[]
    >();
    // @ts-expect-error -- a typo
    void pool.transaction([{ text: '', value: [1] }]);
  });

  it('takes an environment variable as it comes', () => {
    expectTypeOf(connect).toBeCallableWith(process.env['DATABASE_URL']);
  });

  it('returns what the function of a transaction returns', () => {
    expectTypeOf(
      pool.transaction(async (transaction: Transaction) => transaction.query('').then(() => 1)),
    ).resolves.toEqualTypeOf<number>();
    expectTypeOf(session.token).toEqualTypeOf<string | null>();
    // @ts-expect-error -- a typo
    connect({ hosts: [], failoverTimeout: 1 });
  });
});

describe('LockstepClient', () => {
  it('is accepted where pg.Client is wanted, as is its class', () => {
    expectTypeOf<LockstepClient>().toExtend<pg.Client>();
    expectTypeOf<LockstepClient>().toExtend<ClientBase>();
    expectTypeOf(new LockstepClient('').connect()).resolves.toEqualTypeOf<pg.Client>();
    const driver: { Client: new (config: string) => pg.Client } = { Client: LockstepClient };
    expectTypeOf(driver.Client).instance.toEqualTypeOf<pg.Client>();
  });

  it('takes what connect() takes, or a pool', () => {
    expectTypeOf(LockstepClient).toBeConstructibleWith(pool);
    expectTypeOf(LockstepClient).toBeConstructibleWith({ hosts: [{ host: 'db1' }] });
    // @ts-expect-error -- a typo
    void new LockstepClient({ failoverTimeout: 1 });
  });

  it('types results as pg does', () => {
    const client = new LockstepClient(pool);
    expectTypeOf(client.query<{ id: number }>('', [1])).resolves.toEqualTypeOf<QueryResult<{ id: number }>>();
    expectTypeOf(client.query({ text: '', durability: 'async' })).resolves.toExtend<QueryResult>();
  });
});

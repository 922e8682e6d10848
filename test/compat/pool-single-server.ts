import { execFile } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import type { PoolConfig } from 'pg';
import { expect, it } from 'vitest';
import { LockstepPool } from '../../src/index.ts';
import type { LockstepPoolOptions } from '../../src/index.ts';

const run = promisify(execFile);

/** A client that cannot connect, as an app's own class would be one. */
function refusing(seen: unknown[], reason: string): typeof pg.Client {
  return class extends EventEmitter {
    constructor(config: unknown) {
      super();
      seen.push(config);
    }

    connect(done: (error: Error) => void): void {
      process.nextTick(() => done(new Error(reason)));
    }

    end(done: () => void): void {
      process.nextTick(done);
    }
  } as unknown as typeof pg.Client;
}

function environmentOf({ host, port, user, password, database }: PoolConfig): Record<string, string> {
  return {
    PGHOST: host ?? '',
    PGPORT: String(port),
    PGUSER: user ?? '',
    PGPASSWORD: password as string,
    PGDATABASE: database ?? '',
  };
}

/** Pools in a process of their own, whose environment says where the server is. */
async function runProgram(program: string, leader: PoolConfig): Promise<string[]> {
  const entry = join(import.meta.dirname, '../../src/index.ts');
  const source = `import { LockstepPool } from '${entry}'; ${program}`;
  const { stdout } = await run(process.execPath, ['--input-type=module-typescript', '--eval', source], {
    env: { ...process.env, ...environmentOf(leader), NODE_NO_WARNINGS: '1' },
    timeout: 20_000,
  });
  return stdout.trim().split('\n');
}

/** What only one server can have: pg's own clients, and pg's way to find the server. */
export function describeSingleServer(leader: () => PoolConfig): void {
  it('finds its server by PGHOST and the rest of the environment', async () => {
    const program = `
      const pool = new LockstepPool();
      console.log((await pool.query('SELECT 1 AS one')).rows[0].one);
      await pool.end();`;
    expect(await runProgram(program, leader())).toEqual(['1']);
  });

  it('lets an idle program exit with allowExitOnIdle, and holds it until the timeout without', async () => {
    const program = (options: string): string => `
      const pool = new LockstepPool({ idleTimeoutMillis: 300, ${options} });
      pool.on('remove', () => console.log('removed'));
      await pool.query('SELECT 1');
      console.log('answered');`;
    expect(await runProgram(program('allowExitOnIdle: true'), leader())).toEqual(['answered']);
    expect(await runProgram(program(''), leader())).toEqual(['answered', 'removed']);
  });

  it('lends the same client again, and tells of the one it lends', async () => {
    const pool = new LockstepPool({ ...leader(), max: 1, maxUses: 3 });
    const connected: unknown[] = [];
    pool.on('connect', (client) => connected.push(client));
    const first = await pool.connect();
    expect(connected).toEqual([first]);
    const next = pool.connect();
    first.release();
    const second = await next;
    expect(second).toBe(first);
    second.release();
    const third = await pool.connect();
    third.release();
    expect(await pool.connect().then((client) => (client.release(), client))).not.toBe(first);
    await pool.end();
  });

  it('tells of an error at an idle client with that client, and removes it', async () => {
    const pool = new LockstepPool(leader());
    const client = await pool.connect();
    client.release();
    const told = new Promise((resolve) => pool.once('error', (...args) => resolve(args)));
    client.emit('error', new Error('on purpose'));
    expect(await told).toEqual([expect.objectContaining({ message: 'on purpose', client }), client]);
    expect([pool.totalCount, pool.idleCount]).toEqual([0, 0]);
    await pool.end();
  });

  it('leaves its options as they were, and passes all of them to its clients', async () => {
    const options: LockstepPoolOptions & { binary: boolean } = { ...leader(), binary: true, pipeline: true };
    const before = { ...options };
    const pool = new LockstepPool(options);
    const client = (await pool.connect()) as pg.PoolClient & { binary: boolean; pipeline: boolean };
    expect([client.binary, client.pipeline]).toEqual([true, true]);
    const answers = await Promise.all(
      [1, 2, 3].map((number) => client.query('SELECT $1::int AS n', [number])),
    );
    expect(answers.map(({ rows }) => rows)).toEqual([[{ n: 1 }], [{ n: 2 }], [{ n: 3 }]]);
    client.release();
    await pool.end();
    expect(options).toEqual(before);
  });

  it('makes its clients from the class that it is given', async () => {
    const seen: unknown[] = [];
    const connectionString = 'postgres://app:secret@db.example:1234/shop';
    const byOption = new LockstepPool({ connectionString, Client: refusing(seen, 'first') });
    byOption.on('connect', () => seen.push('connected'));
    await expect(byOption.connect()).rejects.toThrow('first');
    const byArgument = new LockstepPool({ connectionString }, refusing(seen, 'second'));
    await expect(byArgument.query('SELECT 1')).rejects.toThrow('second');
    expect(seen).toEqual([
      expect.objectContaining({ connectionString }),
      expect.objectContaining({ connectionString }),
    ]);
  });

  it('makes its promises from the class that it is given', async () => {
    class OwnPromise<T> extends Promise<T> {}
    const pool = new LockstepPool({ ...leader(), Promise: OwnPromise as unknown as PromiseConstructorLike });
    const answer = pool.query('SELECT 1');
    expect(answer).toBeInstanceOf(OwnPromise);
    await answer;
    await pool.end();
  });

  it('tells what it does to the log that it is given', async () => {
    const messages: unknown[] = [];
    const pool = new LockstepPool({
      ...leader(),
      maxUses: 1,
      log: (message: unknown) => messages.push(message),
    });
    await pool.query('SELECT 1');
    expect(messages).toContain('remove expended client');
    await pool.end();
  });

  it('has sessions, transactions and durability on the same connections', async () => {
    const pool = new LockstepPool({ ...leader(), max: 1 });
    await pool.query({
      text: 'CREATE TABLE single (id int PRIMARY KEY)',
      durability: 'sync',
    } as pg.QueryConfig);
    await pool.transaction((tx) => tx.query('INSERT INTO single VALUES (1)'), { durability: 'async' });
    const session = pool.session();
    expect((await session.query('SELECT id FROM single')).rows).toEqual([{ id: 1 }]);
    expect(pool.totalCount).toBe(1);
    expect(pool.stats().writes).toBeGreaterThan(0);
    await pool.end();
  });
}

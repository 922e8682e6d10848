import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { PostgresAccount } from '../../src/postgres/account.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture } from '../../test/integration/fixture.ts';
import type { SharedProcess } from '../contest.ts';

/** Where a contestant connects. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** How every contestant logs in. */
export interface Login {
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** Rows of the table `item`; row ids start at 1. */
export const ITEM_COUNT = 10_000;

const READY_TIMEOUT_MS = 30_000;

/** A leader, and asynchronous followers as soon as somebody asks for them: plain PostgreSQL, no agents. */
export class BenchServers implements AsyncDisposable {
  readonly #fixture: ServerFixture;
  readonly #servers: { readonly server: PostgresServer; readonly address: Address }[] = [];
  readonly login: Login = { user: 'bench', password: randomBytes(12).toString('hex'), database: 'bench' };

  private constructor(fixture: ServerFixture) {
    this.#fixture = fixture;
  }

  static async start(postgres: string): Promise<BenchServers> {
    const servers = new BenchServers(await ServerFixture.create(await findPostgres(postgres)));
    try {
      await servers.#startLeader();
      return servers;
    } catch (error) {
      await servers[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** For {@link start}: the same PostgreSQL. */
  get binDir(): string {
    return this.#fixture.binaries.binDir;
  }

  get version(): string {
    return this.#fixture.binaries.version;
  }

  /** The user that PostgreSQL and the proxies run as; null for this one. */
  get account(): PostgresAccount | null {
    return this.#fixture.account;
  }

  get leader(): Address {
    return this.#at(0).address;
  }

  /** The first so many followers, made now where they are missing. */
  async followers(count: number): Promise<readonly Address[]> {
    while (this.#servers.length <= count) await this.#addFollower(`follower${this.#servers.length}`);
    return this.#servers.slice(1, count + 1).map(({ address }) => address);
  }

  /** The leader's and the first so many followers' processes. */
  processes(followerCount: number): SharedProcess[] {
    return this.#servers.slice(0, followerCount + 1).map(({ server }, index) => ({
      name: index === 0 ? 'PostgreSQL leader' : `PostgreSQL follower ${index}`,
      pid: server.pid ?? 0,
    }));
  }

  /** Waits until the followers show all that the leader has now. */
  async settle(): Promise<void> {
    const lsn = (await this.#ask(0, 'SELECT pg_current_wal_flush_lsn()::text AS value')) as string;
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    for (let index = 1; index < this.#servers.length; index += 1) {
      const question = `SELECT pg_last_wal_replay_lsn() >= '${lsn}'::pg_lsn AS value`;
      while ((await this.#ask(index, question)) !== true) {
        if (performance.now() > deadlineMs) throw new Error(`Follower ${index} did not catch up in time.`);
        await delay(20);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fixture[Symbol.asyncDispose]();
  }

  #at(index: number): { readonly server: PostgresServer; readonly address: Address } {
    const found = this.#servers[index];
    if (found === undefined) throw new Error(`There is no server ${index}.`);
    return found;
  }

  async #startLeader(): Promise<void> {
    await this.#fixture.initialize('leader');
    const port = await freePort();
    const server = await this.#fixture.start('leader', port);
    this.#servers.push({ server, address: { host: '127.0.0.1', port } });
    await server.promote(READY_TIMEOUT_MS);
    const client = await server.connect();
    try {
      const { user, password, database } = this.login;
      await client.query(`CREATE ROLE ${user} LOGIN PASSWORD '${password}' IN ROLE pg_monitor`);
      await client.query(`CREATE DATABASE ${database} OWNER ${user}`);
    } finally {
      await client.end();
    }
    await this.#createTables();
  }

  async #createTables(): Promise<void> {
    const client = await this.#open(0);
    try {
      await client.query(
        `CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, price int NOT NULL, v text)`,
      );
      await client.query(
        `INSERT INTO item SELECT n, 'a thing of the shop, number ' || n, n % 500, repeat('x', 48)
         FROM generate_series(1, ${ITEM_COUNT}) AS n`,
      );
      await client.query(
        'CREATE TABLE payment (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item_id int, amount int)',
      );
      await client.query(
        'CREATE VIEW served AS SELECT pg_advisory_xact_lock(1)::text AS turn, pg_sleep(0.004)::text AS service',
      );
    } finally {
      await client.end();
    }
    const superuser = await this.#at(0).server.connect(this.login.database);
    await superuser.query('VACUUM ANALYZE public.item');
    await superuser.query('CHECKPOINT');
    await superuser.end();
  }

  async #addFollower(name: string): Promise<void> {
    const port = await freePort();
    await takeBaseBackup({
      source: this.#fixture.address(this.leader.port),
      dataDir: this.#fixture.dataDir(name),
      account: this.#fixture.account,
    });
    const server = await this.#fixture.start(name, port, this.leader.port);
    this.#servers.push({ server, address: { host: '127.0.0.1', port } });
    await this.settle();
  }

  async #open(index: number): Promise<pg.Client> {
    const client = new pg.Client({ ...this.#at(index).address, ...this.login });
    await client.connect();
    return client;
  }

  async #ask(index: number, sql: string): Promise<unknown> {
    const client = await this.#open(index);
    try {
      return (await client.query<{ value: unknown }>(sql)).rows[0]?.value;
    } finally {
      await client.end();
    }
  }
}

import { connect as connectSocket, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LockstepOptions } from '../../src/client/app/options.ts';
import { resolveOptions } from '../../src/client/resolve-options.ts';
import { LockstepPool } from '../../src/client/pool.ts';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { probe } from '../../src/postgres/probe.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

/** The leader listens on two addresses, its follower on another one, all on one port, as behind one name. */
const LEADER = '127.0.0.1';
const LEADER_AGAIN = '127.0.0.3';
const FOLLOWER = '127.0.0.2';
const PASSWORD = 'app-password';

let fixture: ServerFixture;
let leader: PostgresServer;
let follower: PostgresServer;
let admin: pg.Client;
let port: number;
const pools: LockstepPool[] = [];
const proxies: Proxy[] = [];

beforeAll(async () => {
  fixture = await ServerFixture.create(await findPostgres('system').catch(() => findPostgres('embedded')));
  port = await freePort();
  fixture.hosts.set('a', `${LEADER},${LEADER_AGAIN}`).set('b', FOLLOWER);
  await fixture.initialize('a');
  leader = await fixture.start('a', port);
  await leader.promote(20_000);
  admin = await leader.connect();
  await admin.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await admin.query(
    'CREATE TABLE public.item (id int PRIMARY KEY, at text DEFAULT host(inet_server_addr()))',
  );
  await admin.query('GRANT ALL ON public.item TO app');
  await takeBaseBackup({
    source: fixture.address(port),
    dataDir: fixture.dataDir('b'),
    account: fixture.account,
  });
  follower = await fixture.start('b', port, port);
  const onFollower = await follower.connect();
  await until('the follower streams', async () => (await probe(onFollower)).isReceiving);
});

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
  for (const proxy of proxies.splice(0)) proxy.close();
});

afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

type Names = Record<string, readonly string[]>;

function open(hosts: LockstepOptions['hosts'], names: Names, over: LockstepOptions = {}): LockstepPool {
  const resolved = resolveOptions({ hosts, user: 'app', password: PASSWORD, database: 'postgres', ...over });
  const lookup = async (host: string): Promise<readonly string[]> => {
    const found = names[host];
    if (found === undefined)
      throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' });
    return found;
  };
  const pool = new LockstepPool({ ...resolved, lookup });
  pools.push(pool);
  return pool;
}

/** Forwards to a target that may change, and may spoil what a connection gets that is not the probe's. */
class Proxy {
  readonly #server: Server;
  readonly #pairs = new Set<[Socket, Socket]>();
  target: string;
  spoil: ((client: Socket) => void) | null = null;
  port = 0;

  constructor(target: string) {
    this.target = target;
    this.#server = createServer((client) => this.#accept(client));
    proxies.push(this);
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as { port: number }).port;
    return this;
  }

  #accept(client: Socket): void {
    const server = connectSocket(port, this.target);
    const pair: [Socket, Socket] = [client, server];
    this.#pairs.add(pair);
    let isProbe: boolean | null = null;
    let isReady = false;
    for (const socket of pair) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
    server.on('data', (chunk: Buffer) => {
      client.write(chunk);
      isReady ||= chunk.includes('Z\0\0\0\x05I', 0, 'latin1');
    });
    client.on('data', (chunk: Buffer) => {
      isProbe ??= chunk.includes('lockstep-probe');
      if (this.spoil !== null && !isProbe && isReady) this.spoil(client);
      else server.write(chunk);
    });
    this.#probes.set(pair, () => isProbe === true);
  }

  readonly #probes = new Map<[Socket, Socket], () => boolean>();

  /** Ends the probe's connection alone: it comes back, and meets whoever is the target by then. */
  cutProbes(): void {
    for (const pair of this.#pairs) if (this.#probes.get(pair)?.() === true) pair[0].destroy();
  }

  close(): void {
    this.#server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }
}

describe('a name', () => {
  it('for leader and follower serves writes, sessions and reads', async () => {
    const pool = open([{ host: 'db', port }], { db: [LEADER, FOLLOWER] });
    const { leader: leaderName, nodes } = await pool.topology();
    expect(leaderName).toBe(`db/${LEADER}:${port}`);
    expect(nodes.map(({ role, host }) => [host, role])).toEqual([
      [LEADER, 'leader'],
      [FOLLOWER, 'follower'],
    ]);
    const session = pool.session();
    for (let id = 1; id <= 20; id += 1) {
      await session.query('INSERT INTO item VALUES ($1)', [id]);
      expect((await session.query('SELECT FROM item WHERE id = $1', [id])).rowCount).toBe(1);
    }
    expect(pool.stats().readsByNode[`db/${FOLLOWER}:${port}`]).toBeGreaterThan(10);
  });

  it('for one server at several addresses is that one server', async () => {
    const pool = open([{ host: 'db', port }], { db: [LEADER, LEADER_AGAIN] });
    await pool.query('SELECT 1');
    await pool.topology();
    const { nodes } = await pool.topology();
    expect(nodes.map(({ role, isUp }) => [role, isUp])).toEqual(
      expect.arrayContaining([
        ['leader', true],
        ['unknown', true],
      ]),
    );
  });

  it('that gains an address gains a follower', async () => {
    const names: Names = { db: [LEADER] };
    const pool = open([{ host: 'db', port }], names);
    await pool.query('SELECT 1');
    expect((await pool.topology()).leader).toBe(`db:${port}`);
    names['db'] = [LEADER, FOLLOWER];
    await until('the follower', async () =>
      (await pool.topology()).nodes.some(({ role }) => role === 'follower'),
    );
    await until('a read there', async () => {
      await pool.query('SELECT FROM item');
      return (pool.stats().readsByNode[`db/${FOLLOWER}:${port}`] ?? 0) > 0;
    });
  });

  it('that does not resolve costs nothing where another one does', async () => {
    const pool = open(
      [
        { host: 'gone', port },
        { host: 'db', port },
      ],
      { db: [LEADER] },
    );
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });
});

describe('a follower', () => {
  it('that sends garbage to all but probes costs no read', async () => {
    const proxy = await new Proxy(FOLLOWER).listen();
    proxy.spoil = (client) => client.write(Buffer.alloc(5000, 7));
    const pool = open(
      [
        { host: LEADER, port },
        { host: '127.0.0.1', port: proxy.port },
      ],
      {},
    );
    await until('the follower', async () =>
      (await pool.topology()).nodes.some(({ role }) => role === 'follower'),
    );
    for (let round = 0; round < 50; round += 1) {
      expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    }
    // The circuit breaker keeps nearly all of them off it.
    expect(pool.stats().retried).toBeGreaterThanOrEqual(3);
    expect(pool.stats().retried).toBeLessThan(10);
    proxy.spoil = null;
    await until('its return', async () => {
      await pool.query('SELECT 1');
      return (pool.stats().readsByNode[`127.0.0.1:${proxy.port}`] ?? 0) > 5;
    });
  });

  it('of a zone is preferred there', async () => {
    const hosts = [
      { host: LEADER, port, zone: 'a' },
      { host: FOLLOWER, port, zone: 'b' },
    ];
    const pool = open(hosts, {}, { zone: 'b', maxReadLagMs: 5000 });
    await until('a read there', async () => {
      await pool.query('SELECT 1');
      return (pool.stats().readsByNode[`${FOLLOWER}:${port}`] ?? 0) > 3;
    });
  });
});

describe('a service that refuses what the probe asks', () => {
  const POSITIONS = [
    'pg_last_wal_replay_lsn()',
    'pg_last_wal_receive_lsn()',
    'pg_current_wal_flush_lsn()',
    'pg_current_wal_lsn()',
    'pg_walfile_name(pg_lsn)',
    'pg_control_checkpoint()',
    'pg_control_system()',
    'pg_postmaster_start_time()',
  ];
  const all = (verb: string, direction: string): string =>
    POSITIONS.map((name) => `${verb} EXECUTE ON FUNCTION pg_catalog.${name} ${direction} PUBLIC`).join('; ');

  afterEach(async () => {
    await admin.query(all('GRANT', 'TO'));
  });

  it('is used as far as it answers: sessions by its leader, reads by followers on demand', async () => {
    await admin.query(all('REVOKE', 'FROM'));
    const onFollower = new pg.Client({
      host: FOLLOWER,
      port,
      user: 'app',
      password: PASSWORD,
      database: 'postgres',
    });
    await onFollower.connect();
    const sql = `SELECT has_function_privilege('pg_last_wal_replay_lsn()', 'EXECUTE') AS may`;
    await until('the follower to refuse', async () => (await onFollower.query(sql)).rows[0].may === false);
    await onFollower.end();
    const hosts = [
      { host: LEADER, port },
      { host: FOLLOWER, port },
    ];

    const careful = open(hosts, {});
    expect((await careful.topology()).nodes.map(({ role, lsn }) => [role, lsn])).toEqual([
      ['leader', null],
      ['follower', null],
    ]);
    for (let round = 0; round < 5; round += 1) await careful.query('SELECT FROM item');
    expect(Object.keys(careful.stats().readsByNode)).toEqual([`${LEADER}:${port}`]);

    const bold = open(hosts, {}, { allowUnknownLag: true });
    await bold.topology();
    for (let round = 0; round < 5; round += 1) await bold.query('SELECT FROM item');
    expect(Object.keys(bold.stats().readsByNode)).toEqual([`${FOLLOWER}:${port}`]);
    const session = bold.session();
    for (let id = 1001; id <= 1010; id += 1) {
      await session.query('INSERT INTO item VALUES ($1)', [id]);
      expect((await session.query('SELECT FROM item WHERE id = $1', [id])).rowCount).toBe(1);
    }
    expect(bold.stats().readsByNode).toEqual({ [`${FOLLOWER}:${port}`]: 5, [`${LEADER}:${port}`]: 10 });
  });
});

describe('a failover without agents', () => {
  it('is followed behind a name that moves, and behind an address that another server takes over', async () => {
    const names: Names = { writer: [LEADER] };
    const pool = open([{ host: 'writer', port }], names, { failoverTimeoutMs: 20_000 });
    const proxy = await new Proxy(LEADER).listen();
    const proxied = open([{ host: '127.0.0.1', port: proxy.port }], {}, { failoverTimeoutMs: 20_000 });
    const insert = 'INSERT INTO item (id) VALUES ($1) RETURNING at';
    const placeOf = async (on: LockstepPool, id: number): Promise<string> =>
      (await on.query(insert, [id])).rows[0].at;
    expect(await placeOf(pool, 2001)).toBe(LEADER);
    expect(await placeOf(proxied, 2002)).toBe(LEADER);

    // The old leader goes on: only what is known about names and servers keeps writes off it.
    await follower.promote(20_000);
    proxy.target = FOLLOWER;
    proxy.cutProbes();
    let id = 2003;
    await until('a write on the new server', async () => (await placeOf(proxied, (id += 1))) === FOLLOWER);
    for (let round = 0; round < 10; round += 1) expect(await placeOf(proxied, (id += 1))).toBe(FOLLOWER);

    names['writer'] = [FOLLOWER];
    await until('a write where the name is now', async () => (await placeOf(pool, (id += 1))) === FOLLOWER);
    for (let round = 0; round < 10; round += 1) expect(await placeOf(pool, (id += 1))).toBe(FOLLOWER);
  });
});

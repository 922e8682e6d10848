import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connect, LockstepError } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../src/index.ts';

/** Longer than any test may take: who waits it out has waited for nothing. */
const failoverTimeoutMs = 600_000;

const pools: LockstepPool[] = [];
const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});

function open(options: LockstepOptions): LockstepPool {
  const pool = connect({ user: 'app', password: 'secret', failoverTimeoutMs, ...options });
  pools.push(pool);
  return pool;
}

/** The port of a server that does `answer` with each connection. */
async function listening(answer: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    answer(socket);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** AuthenticationSASL, for which the password is wanted. */
function askForPassword(socket: Socket): void {
  const mechanisms = Buffer.from('SCRAM-SHA-256\0\0');
  const head = Buffer.from([0x52, 0, 0, 0, 8 + mechanisms.length, 0, 0, 0, 10]);
  socket.once('data', () => socket.write(Buffer.concat([head, mechanisms])));
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const port = await listening(() => undefined);
  const server = servers.pop();
  server?.close();
  return port;
}

async function errorOf(work: () => Promise<unknown>): Promise<LockstepError> {
  const thrown: unknown = await work().then(
    () => null,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(LockstepError);
  return thrown as LockstepError;
}

/** Each way to use a pool. */
const USES: readonly (readonly [string, (pool: LockstepPool) => Promise<unknown>])[] = [
  ['query', (pool) => pool.query('SELECT 1')],
  ['a write', (pool) => pool.query('INSERT INTO t VALUES (1)')],
  ['connect', (pool) => pool.connect()],
  ['a transaction', (pool) => pool.transaction(async () => undefined)],
  ['listen', (pool) => pool.listen('news', () => undefined)],
];

describe.each(USES)('%s, when no server of the list can be reached', (_name, use) => {
  it('says soon that nobody listens', async () => {
    const hosts = [await closedPort(), await closedPort()].map((port) => ({ host: '127.0.0.1', port }));
    const error = await errorOf(() => use(open({ hosts })));
    expect(error).toMatchObject({ code: 'NO_LEADER', outcome: 'not-applied', retryable: true });
    expect(error.message).toContain('ECONNREFUSED');
    expect(error.cause).toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('says soon that the name is not known', async () => {
    const error = await errorOf(() => use(open({ hosts: [{ host: 'no-such-host.invalid' }] })));
    expect(error.message).toMatch(/ENOTFOUND|EAI_AGAIN/);
    expect(error.cause).toMatchObject({ code: expect.stringMatching(/ENOTFOUND|EAI_AGAIN/) });
  });

  it('says soon what password() threw', async () => {
    const port = await listening(askForPassword);
    const refusal = new Error('The vault is sealed.');
    const password = (): Promise<string> => Promise.reject(refusal);
    const error = await errorOf(() => use(open({ hosts: [{ host: '127.0.0.1', port }], password })));
    expect(error.code).toBe('NO_LEADER');
    expect(error.message).toContain('The vault is sealed.');
    expect(error.cause).toBe(refusal);
  });
});

describe.each(USES)('%s, when the servers ask for a password', (_name, use) => {
  beforeEach(() => {
    vi.stubEnv('PGPASSWORD', '');
    vi.stubEnv('PGPASSFILE', '/nowhere/pgpass');
  });

  afterEach(() => {
    vi.unstubAllEnvs();
  });

  const missing = { code: 'CONFIG_INVALID', outcome: 'not-applied', retryable: false };

  it.each([
    ['there is none', undefined],
    ['it is empty', ''],
    ['password() gives none', (): Promise<string> => Promise.resolve(undefined as unknown as string)],
    ['it is no text', 1234 as unknown as string],
  ])('says at once that %s', async (_what, password) => {
    const hosts = [
      { host: '127.0.0.1', port: await listening(askForPassword) },
      { host: '127.0.0.1', port: await listening(askForPassword) },
    ];
    const error = await errorOf(() => use(open({ hosts, password })));
    expect(error).toMatchObject(missing);
    expect(error.message).toMatch(/^Give a password/);
    expect(error.message).not.toMatch(/reached|1234/);
  });

  it('says so also where another server is down', async () => {
    const ports = [await closedPort(), await listening(askForPassword)];
    const hosts = ports.map((port) => ({ host: '127.0.0.1', port }));
    expect(await errorOf(() => use(open({ hosts, password: undefined })))).toMatchObject(missing);
  });
});

/** As a PostgreSQL does that has `ssl = off`. */
function refuseTls(socket: Socket): void {
  socket.once('data', () => socket.write('N'));
}

it.each(USES)('%s says at once that the servers have no TLS', async (_name, use) => {
  const ports = [await listening(refuseTls), await listening(refuseTls)];
  const connectionString = `postgresql://127.0.0.1:${ports.join(',127.0.0.1:')}/app?sslmode=require`;
  const error = await errorOf(() => use(open({ connectionString })));
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied', retryable: false });
  expect(error.message).toMatch(/^Turn TLS on at the server \(ssl = on\), or give sslmode=disable/);
});

const MISUSES: readonly (readonly [string, (pool: LockstepPool) => Promise<unknown>, RegExp])[] = [
  ['LISTEN alone', (pool) => pool.query('LISTEN news'), /^Use pool\.listen\(channel, handler\)/],
  ['and on the leader', (pool) => pool.leader.query('listen "x"'), /^Use pool\.listen/],
  [
    'transaction() of nothing',
    (pool) => pool.transaction(undefined as never),
    /^Give transaction\(\) a func/,
  ],
  ['of a text', (pool) => pool.transaction('SELECT 1' as never), /^Give transaction\(\) a function/],
  ['of texts', (pool) => pool.session().transaction(['SELECT 1'] as never), /each as { text, values }/],
];

it.each(MISUSES)('%s is refused before any server is asked', async (_name, use, remedy) => {
  const error = await errorOf(() => use(open({ hosts: [{ host: '127.0.0.1', port: 1 }] })));
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied' });
  expect(error.message).toMatch(remedy);
});

describe('connectionTimeoutMillis', () => {
  it.each(USES.slice(0, 3))('holds for %s when a server accepts and says nothing', async (_name, use) => {
    const port = await listening(() => undefined);
    const pool = open({ hosts: [{ host: '127.0.0.1', port }], connectionTimeoutMillis: 100 });
    await expect(use(pool)).rejects.toMatchObject({
      message: 'timeout exceeded when trying to connect',
      cause: { code: 'NO_LEADER' },
    });
  });
});

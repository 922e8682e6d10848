import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { connect } from '../../src/client/pool.ts';
import { AuthGuard } from '../../src/wire/core/auth-guard.ts';
import type { AuthMethod } from '../../src/wire/core/auth-guard.ts';
import { findPassword } from '../../src/wire/core/pass-file.ts';
import { GuardedClient } from '../../src/wire/guarded-client.ts';
import { createUrlClient } from '../../src/wire/url-client.ts';

const PASSWORD = 'correct horse battery staple';
const sockets = new Set<Socket>();
const servers: Server[] = [];

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

function message(type: string, body: Buffer | string = ''): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(Buffer.byteLength(body) + 4, 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

function auth(code: number, rest: Buffer | string = ''): Buffer {
  const kind = Buffer.alloc(4);
  kind.writeUInt32BE(code);
  return message('R', Buffer.concat([kind, Buffer.from(rest)]));
}

const LET_IN = Buffer.concat([auth(0), message('Z', 'I')]);
const ASK_SCRAM = auth(10, 'SCRAM-SHA-256\0\0');

/** What a server knows that was given the password once; a forger knows another. */
interface Knowledge {
  readonly password: string;
  readonly iterations: number;
}

/** Speaks SCRAM (RFC 5802) up to the step after which it does as `end` says. */
async function scram(socket: Socket, known: Knowledge, end: 'prove' | 'break off' | 'lie'): Promise<void> {
  socket.write(ASK_SCRAM);
  const first = (await received(socket)).toString();
  const clientFirst = /n=\*,r=(.*)$/.exec(first)?.[0] ?? '';
  const nonce = `${/r=(.*)$/.exec(clientFirst)?.[1]}server`;
  const salt = Buffer.from('salt of this test');
  const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${known.iterations}`;
  socket.write(auth(11, serverFirst));
  await received(socket);
  if (end === 'break off') return void socket.write(LET_IN);
  const salted = pbkdf2Sync(known.password, salt, known.iterations, 32, 'sha256');
  const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const signed = [clientFirst, serverFirst, `c=biws,r=${nonce}`].join(',');
  const proof = end === 'prove' ? hmac(hmac(salted, 'Server Key'), signed) : createHash('sha256').digest();
  socket.write(Buffer.concat([auth(12, `v=${proof.toString('base64')}`), LET_IN]));
}

function received(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => socket.once('data', resolve));
}

async function listen(speak: (socket: Socket) => void): Promise<{ port: number; heard: () => string }> {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.once('data', () => speak(socket));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { port, heard: () => Buffer.concat(heard).toString('latin1') };
}

async function tryConnect(port: number, requireAuth?: readonly AuthMethod[]): Promise<Error | null> {
  const client = new GuardedClient({
    host: '127.0.0.1',
    port,
    user: 'app',
    password: PASSWORD,
    connectionTimeoutMillis: 5_000,
    requireAuth,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return null;
  } catch (error) {
    return error as Error;
  } finally {
    client.connection.stream.destroy();
  }
}

const md5 = auth(5, 'salt');
const known: Knowledge = { password: PASSWORD, iterations: 4096 };
const SCRAM_ONLY: readonly AuthMethod[] = ['scram-sha-256'];

describe('a server that asks for the password', () => {
  it.each([
    [
      'in clear',
      (socket: Socket) => socket.write(auth(3)),
      /"password" by the option requireAuth.*password$/,
    ],
    ['hashed with MD5', (socket: Socket) => socket.write(md5), /"md5" by the option requireAuth/],
  ])('%s does not get it unless that is allowed by name', async (_, speak, expected) => {
    const { port, heard } = await listen(speak);
    const error = await tryConnect(port);
    expect(error).toMatchObject({ code: 'EAUTH' });
    expect(error?.message.replace(/\.$/, '')).toMatch(expected);
    expect(heard()).not.toContain(PASSWORD);
    expect(heard()).not.toContain('md5');
  });

  it.each(['password', 'md5'] as const)('by %s gets it where that is allowed', async (method) => {
    const { port } = await listen((socket) => {
      socket.write(method === 'md5' ? md5 : auth(3));
      socket.once('data', () => socket.write(LET_IN));
    });
    expect(await tryConnect(port, [method])).toBeNull();
  });

  it('by SCRAM is believed when it proves to know it', async () => {
    const { port, heard } = await listen((socket) => void scram(socket, known, 'prove'));
    expect(await tryConnect(port, SCRAM_ONLY)).toBeNull();
    expect(heard()).not.toContain(PASSWORD);
  });
});

describe('a server that does not know the password', () => {
  const none = (socket: Socket): void => void socket.write(LET_IN);
  it.each([
    ['asks for none', none],
    ['is ready at once', (socket: Socket) => void socket.write(message('Z', 'I'))],
    ['breaks SCRAM off', (socket: Socket) => void scram(socket, known, 'break off')],
    ['makes its proof up', (socket: Socket) => void scram(socket, known, 'lie')],
    ['knows another', (socket: Socket) => void scram(socket, { ...known, password: 'x' }, 'prove')],
    ['ends before it began', (socket: Socket) => void socket.write(Buffer.concat([auth(12, 'v=x'), LET_IN]))],
    ['begins twice', (socket: Socket) => void socket.write(Buffer.concat([ASK_SCRAM, ASK_SCRAM]))],
    ['asks in clear after SCRAM', (socket: Socket) => void socket.write(Buffer.concat([ASK_SCRAM, auth(3)]))],
    ['lets in twice', (socket: Socket) => void socket.write(Buffer.concat([auth(0), auth(0), LET_IN]))],
    ['wants a million rounds', (socket: Socket) => void scram(socket, { ...known, iterations: 1e9 }, 'lie')],
  ])('is not used when it %s', async (_, speak) => {
    const { port, heard } = await listen(speak);
    expect(await tryConnect(port, SCRAM_ONLY)).toBeInstanceOf(Error);
    expect(heard()).not.toContain(PASSWORD);
  });

  it('may ask for none where that is allowed, as for a local socket', async () => {
    const { port } = await listen(none);
    expect(await tryConnect(port)).toBeNull();
    expect(await tryConnect(port, ['none'])).toBeNull();
  });

  it('costs a pool that has a password a clear error at once', async () => {
    for (const [speak, method] of [
      [none, 'none'],
      [(socket: Socket): void => void socket.write(auth(3)), 'password'],
    ] as const) {
      const { port, heard } = await listen(speak);
      const pool = connect(`postgresql://app:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/app`);
      await expect(pool.query('SELECT 1')).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(`require_auth=scram-sha-256,${method}`) as string,
      });
      await pool.end();
      expect(heard()).not.toContain(PASSWORD);
    }
  });
});

describe('a password in the pass file', () => {
  const none = (socket: Socket): void => void socket.write(LET_IN);
  const folders: string[] = [];
  afterEach(() => {
    vi.unstubAllEnvs();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  /** What a pool, and a connection that a URL names, meet at a server that asks for no password. */
  async function ask(entryOf: (port: number) => string): Promise<readonly unknown[]> {
    const { port } = await listen(none);
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-pass-'));
    folders.push(folder);
    writeFileSync(join(folder, 'pass'), `# mine\n${entryOf(port)}\n`, { mode: 0o600 });
    vi.stubEnv('PGPASSFILE', join(folder, 'pass'));
    const config = { host: '127.0.0.1', port, user: 'app', database: 'shop' };
    const clients = [
      new GuardedClient(config),
      createUrlClient({ connectionString: `postgresql://app@127.0.0.1:${port}/shop` }),
      createUrlClient({ connectionString: `postgresql://app@127.0.0.1:${port}/shop?require_auth=none` }),
    ];
    return Promise.all(
      clients.map(async (client) => {
        client.on('error', () => undefined);
        const failure = await client.connect().then(
          () => null,
          (error: { code?: unknown }) => error.code,
        );
        client.connection.stream.destroy();
        return failure;
      }),
    );
  }

  it('must be known to the server too', async () => {
    expect(await ask((port) => `127.0.0.1:${port}:shop:app:secret`)).toEqual(['EAUTH', 'EAUTH', null]);
    expect(await ask(() => '*:*:*:app:secret')).toEqual(['EAUTH', 'EAUTH', null]);
  });

  it('of another server says nothing of this one', async () => {
    expect(await ask((port) => `127.0.0.1:${port}:shop:other:secret`)).toEqual([null, null, null]);
    expect(await ask((port) => `127.0.0.1:${port + 1}:*:*:secret`)).toEqual([null, null, null]);
  });

  it.each([
    ['db:5432:shop:app:secret', 'secret'],
    ['db:5432:shop:app:', ''],
    ['*:*:*:*:x', 'x'],
    ['#db:5432:shop:app:secret', null],
    ['db:5432:shop:app', null],
    ['db:5432:sh:op:app:secret', null],
    ['', null],
    ['other:5432:shop:app:x\r\ndb:5432:shop:app:x', 'x'],
  ])('is read as libpq reads it: %j', (text, expected) => {
    const key = { host: 'db', port: 5432, database: 'shop', user: 'app' };
    expect(findPassword(text, key)).toBe(expected);
  });

  it('may have names with a colon and a backslash', () => {
    const key = { host: 'db', port: 5432, database: 'sh:op', user: 'a\\p' };
    expect(findPassword('db:5432:sh\\:op:a\\\\p:x\\:y', key)).toBe('x:y');
  });
});

describe('the option requireAuth', () => {
  it('takes names that libpq takes, and no others', () => {
    const url = 'postgresql://app:x@127.0.0.1:1/app?require_auth=';
    for (const names of ['', 'scram', 'gss', 'scram-sha-256,,md5'])
      expect(() => connect(url + names)).toThrow(/"requireAuth".*scram-sha-256, md5, password, none/);
  });
});

describe('the order of authentication', () => {
  it('is left by no sequence of requests but those that end with a proof or what is allowed', () => {
    const codes = [0, 3, 5, 7, 10, 11, 12];
    const passes: number[][] = [];
    const walk = (sequence: readonly number[]): void => {
      const guard = new AuthGuard(SCRAM_ONLY);
      if (sequence.some((code) => guard.judge(code) !== null)) return;
      if (guard.isOver) passes.push([...sequence]);
      if (sequence.length < 5) for (const code of codes) walk([...sequence, code]);
    };
    walk([]);
    expect(passes).toEqual([[10, 11, 12, 0]]);
  });
});

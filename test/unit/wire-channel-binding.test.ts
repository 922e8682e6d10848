import { createHash, createHmac, pbkdf2Sync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { connect } from '../../src/client/pool.ts';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { createUrlClient } from '../../src/wire/url-client.ts';
import { CERTIFICATE, KEY } from './tls-certificate.ts';

const PASSWORD = 'correct horse battery staple';
const sockets = new Set<Socket>();
const servers: Server[] = [];

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  for (const server of servers.splice(0)) server.close();
});

function auth(code: number, rest = ''): Buffer {
  const body = Buffer.from(rest);
  const head = Buffer.from('R\0\0\0\0\0\0\0\0', 'latin1');
  head.writeUInt32BE(body.length + 8, 1);
  head.writeUInt32BE(code, 5);
  return Buffer.concat([head, body]);
}

const LET_IN = Buffer.concat([auth(0), Buffer.from('Z\0\0\0\x05I', 'latin1')]);
const PLUS = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'];

/** Speaks SCRAM (RFC 5802), and believes a client that is bound to this very certificate, if it is bound. */
async function scram(socket: Socket, mechanisms: readonly string[]): Promise<void> {
  const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  socket.write(auth(10, [...mechanisms, '', ''].join('\0')));
  const [, header = '', clientFirst = ''] =
    /(p=[^,]*,,|[ny],,)(n=\*,r=.*)$/.exec(await received(socket)) ?? [];
  const salt = Buffer.from('salt of this test');
  const nonce = `${clientFirst.slice('n=*,r='.length)}server`;
  const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=4096`;
  socket.write(auth(11, serverFirst));
  const [, clientFinal = '', bound = ''] = /(c=([^,]*),r=[^,]*),p=/.exec(await received(socket)) ?? [];
  const certificate = createHash('sha256').update(new X509Certificate(CERTIFICATE).raw).digest();
  const expected = Buffer.concat([
    Buffer.from(header),
    header.startsWith('p') ? certificate : Buffer.alloc(0),
  ]);
  if (bound !== expected.toString('base64')) return void socket.destroy();
  const signed = [clientFirst, serverFirst, clientFinal].join(',');
  const proof = hmac(hmac(pbkdf2Sync(PASSWORD, salt, 4096, 32, 'sha256'), 'Server Key'), signed);
  socket.write(Buffer.concat([auth(12, `v=${proof.toString('base64')}`), LET_IN]));
}

async function received(socket: Socket): Promise<string> {
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString('latin1');
}

type Speak = (socket: Socket) => void;

/** The URL of a server that says this; `heard` is what it was told beneath TLS. */
async function listen(speak: Speak, hasTls: boolean): Promise<{ url: string; heard: () => string }> {
  const heard: Buffer[] = [];
  const greet = (socket: Socket): void => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.once('data', () => speak(socket));
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    if (!hasTls) return greet(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write('S');
      greet(new TLSSocket(socket, { isServer: true, key: KEY, cert: CERTIFICATE }));
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = `postgresql://app:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/app?sslmode=${hasTls ? 'no-verify' : 'disable'}`;
  return { url, heard: () => Buffer.concat(heard).toString('latin1') };
}

async function login(url: string): Promise<Error | null> {
  const client = createUrlClient({ connectionString: url, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    return null;
  } catch (error) {
    return error as Error;
  } finally {
    client.connection.stream.destroy();
  }
}

const REFUSED: readonly [string, boolean, Speak, RegExp][] = [
  ['has no TLS', false, (socket) => void scram(socket, PLUS), /^The server is not trusted: turn TLS on/],
  ['has no TLS and lets in', false, (socket) => void socket.write(LET_IN), /turn TLS on/],
  [
    'offers no binding',
    true,
    (socket) => void scram(socket, ['SCRAM-SHA-256']),
    /not offer SCRAM-SHA-256-PLUS/,
  ],
  ['asks in clear', true, (socket) => void socket.write(auth(3)), /have it ask for SCRAM.*in clear/],
  ['asks by MD5', true, (socket) => void socket.write(auth(5, 'salt')), /have it ask for SCRAM.*MD5/],
  ['lets in', true, (socket) => void socket.write(LET_IN), /have it ask for SCRAM.*no password/],
];

describe.each(REFUSED)('with channel_binding=require, a server that %s', (_, hasTls, speak, expected) => {
  const all = '&require_auth=scram-sha-256,md5,password,none';

  it('is refused, whatever require_auth allows, before it is answered', async () => {
    const { url, heard } = await listen(speak, hasTls);
    const error = await login(`${url}&channel_binding=require${all}`);
    expect(error).toMatchObject({ code: 'EAUTH', message: expect.stringMatching(expected) });
    // Messages of the type p are the client's part of an authentication.
    expect(heard()).not.toMatch(/p\0\0/);
  });

  it('costs a pool a clear error at once, and a follow one with the same words', async () => {
    const { url } = await listen(speak, hasTls);
    const pool = connect(`${url}&channel_binding=require${all}`);
    const refusal = {
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(expected.source.replace('^', '')),
    };
    await expect(pool.query('SELECT 1')).rejects.toMatchObject(refusal);
    await pool.end();
    const follow = connectToLeader(`${url}&channel_binding=require${all}`, { applicationName: 'test' });
    await expect(follow).rejects.toThrow(new RegExp(expected.source.replace('^', '')));
  });
});

describe('channel_binding', () => {
  it.each(['require', 'prefer'])('=%s lets in by SCRAM that is bound to the certificate', async (value) => {
    const { url, heard } = await listen((socket) => void scram(socket, PLUS), true);
    expect(await login(`${url}&channel_binding=${value}`)).toBeNull();
    expect(heard()).toContain('p=tls-server-end-point');
  });

  it('=prefer does without where the server has none', async () => {
    for (const [hasTls, mechanisms] of [
      [false, ['SCRAM-SHA-256']],
      [true, ['SCRAM-SHA-256']],
    ] as const) {
      const { url } = await listen((socket) => void scram(socket, mechanisms), hasTls);
      expect(await login(`${url}&channel_binding=prefer`)).toBeNull();
    }
  });

  it('is refused where libpq has no such value, which would bind nothing', async () => {
    const url = 'postgresql://app:x@127.0.0.1:1/app?channel_binding=required';
    expect(() => connect(url)).toThrow(/Give channel_binding in the URL as one of disable, prefer, require/);
    const follow = connectToLeader(url, { applicationName: 'test' });
    await expect(follow).rejects.toThrow(
      /Give channel_binding in the URL as one of disable, prefer, require/,
    );
  });
});

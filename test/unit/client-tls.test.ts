import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { connectionTo } from '../../src/client/cluster/members.ts';
import { NodeProbe } from '../../src/client/cluster/node-probe.ts';
import { CERTIFICATE, KEY } from './tls-certificate.ts';

const AUTHENTICATED = Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I', 'latin1');

let server: Server | undefined;
const sockets = new Set<Socket>();

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server?.close();
});

/** Accepts TLS as PostgreSQL does, tells the name that was asked for, and then sends `first` and noise. */
async function listen(heard: string[], first: Buffer): Promise<number> {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write('S');
      const secure = new TLSSocket(socket, { isServer: true, key: KEY, cert: CERTIFICATE });
      secure.on('error', () => undefined);
      secure.once('data', () => {
        heard.push(String((secure as { servername?: string }).servername));
        secure.write(first);
        secure.once('data', () => secure.write(Buffer.alloc(100, 7)));
      });
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function reasonOf(serverName: string | null, port: number, ssl: object | true): Promise<string> {
  const config = connectionTo({ address: '127.0.0.1', port, serverName }, ssl);
  const probe = new NodeProbe({ ...config, user: 'app', password: 'x', database: 'app' }, systemClock);
  const { probe: answer } = await probe.probe();
  probe.close();
  return answer.kind === 'down' ? answer.reason : answer.kind;
}

describe('TLS to an address that a name was resolved to', () => {
  it('is checked against the name, which is also what the server is asked for', async () => {
    const heard: string[] = [];
    const port = await listen(heard, AUTHENTICATED);
    // It got as far as the probe, whose answer is noise.
    expect(await reasonOf('db.test', port, { ca: CERTIFICATE })).toMatch(/no message type 7/);
    expect(heard).toEqual(['db.test']);
  });

  it('refuses a certificate for another name, for no name, and of an unknown authority', async () => {
    const heard: string[] = [];
    const port = await listen(heard, AUTHENTICATED);
    expect(await reasonOf('other.test', port, { ca: CERTIFICATE })).toMatch(/other\.test/);
    expect(await reasonOf(null, port, { ca: CERTIFICATE })).toMatch(/127\.0\.0\.1/);
    expect(await reasonOf('db.test', port, true)).toMatch(/self.signed/i);
    expect(heard).toEqual([]);
  });

  it('is guarded against garbage from the first byte within', async () => {
    const port = await listen([], Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'));
    expect(await reasonOf('db.test', port, { ca: CERTIFICATE })).toMatch(/does not speak PostgreSQL/);
  });
});

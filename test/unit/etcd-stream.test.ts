import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { EtcdHttp } from '../../src/coordination/etcd/etcd-http.ts';

it('gives up a stream whose line does not end, and keeps no more of it', async () => {
  const megabyte = Buffer.alloc(1_048_576, 'x');
  const server = createServer((_request, response) => {
    response.write('{"n":1}\n');
    const pour = (): void => {
      if (response.destroyed) return;
      if (response.write(megabyte)) setImmediate(pour);
      else response.once('drain', pour);
    };
    pour();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = new EtcdHttp({}, systemClock);
  const lines: string[] = [];
  try {
    const { port } = server.address() as AddressInfo;
    const post = {
      endpoint: `http://127.0.0.1:${port}`,
      path: '/',
      body: {},
      token: null,
      timeoutMs: 10_000,
    };
    const reason = await http.stream(post, (line) => lines.push(line), new AbortController().signal);
    expect(reason).toBe('a line of more than 8388608 bytes');
    expect(lines).toEqual(['{"n":1}']);
  } finally {
    http.close();
    server.closeAllConnections();
    server.close();
  }
});

it('gives up a request and a stream upon which the other side changes the protocol', async () => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () =>
      socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: none\r\n\r\n'),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = new EtcdHttp({}, systemClock);
  try {
    const { port } = server.address() as AddressInfo;
    const post = { endpoint: `http://127.0.0.1:${port}`, path: '/', body: {}, token: null, timeoutMs: 500 };
    const reason = 'an end without an answer';
    expect(await http.post(post)).toEqual({ kind: 'broken', reason, isTimeout: false });
    expect(await http.stream(post, () => undefined, new AbortController().signal)).toBe(reason);
  } finally {
    http.close();
    server.close();
  }
});

import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { createBoundedServer } from '../../src/http/bounded-server.ts';
import type { BoundedServer, ServerBounds } from '../../src/http/bounded-server.ts';
import { addressKey, Seats } from '../../src/http/core/seats.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

interface Served {
  readonly port: number;
  readonly bounded: BoundedServer;
  /** The paths of the requests that were let through. */
  readonly asked: readonly string[];
}

async function serve(bounds: Partial<ServerBounds> = {}): Promise<Served> {
  const asked: string[] = [];
  const bounded = createBoundedServer((incoming, response) => {
    asked.push(incoming.url ?? '');
    if (incoming.url === '/stream') {
      if (bounded.openStream(incoming, response)) response.writeHead(200).write('hello');
      else response.writeHead(503).end();
      return;
    }
    if (incoming.url === '/prove') bounded.prove(incoming.socket);
    incoming.resume().once('end', () => response.end('ok'));
  }, bounds);
  bounded.server.listen(0, '127.0.0.1');
  await once(bounded.server, 'listening');
  open.push({ close: () => bounded.close() });
  return { port: (bounded.server.address() as AddressInfo).port, bounded, asked };
}

async function connectTo(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  open.push({ close: () => socket.destroy() });
  await once(socket, 'connect');
  return socket;
}

function get(port: number, path = '/'): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, path, host: '127.0.0.1', agent: false }, resolve);
    asked.on('error', reject);
    open.push({ close: () => asked.destroy() });
    asked.end();
  });
}

/** The status of the first answer to what is written; null when the connection ends without one. */
async function statusOf(socket: Socket, text: string): Promise<number | null> {
  let heard = '';
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
  const ended = once(socket, 'close');
  socket.write(text);
  await expect.poll(() => heard.includes('\r\n') || socket.destroyed, { timeout: 15_000 }).toBe(true);
  const status = /^HTTP\/1\.1 (\d+)/.exec(heard)?.[1];
  if (status !== '200') await ended;
  return status === undefined ? null : Number(status);
}

describe('a server that strangers may reach', () => {
  test('takes no body that is too long or has no length, and ends the connection', async () => {
    const { port } = await serve({ maxBodyBytes: 1_000 });
    const post = (header: string): string => `POST / HTTP/1.1\r\nhost: a\r\n${header}\r\n\r\n`;
    expect(await statusOf(await connectTo(port), post('content-length: 300000000'))).toBe(413);
    expect(await statusOf(await connectTo(port), post('transfer-encoding: chunked'))).toBe(411);
    const head = 'GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello';
    expect(await statusOf(await connectTo(port), head)).toBe(400);
    expect(await statusOf(await connectTo(port), `${post('content-length: 5')}hello`)).toBe(200);
  });

  test('answers one request of a connection at a time, however many come in one packet', async () => {
    const { port, asked } = await serve();
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
    const greedy = await connectTo(port);
    const ended = once(greedy, 'close');
    greedy.resume().write(get('/stream').repeat(1_800));
    await ended;
    expect(asked).toEqual(['/stream']);
    // Who waits for the answer may ask again.
    const patient = await connectTo(port);
    for (const path of ['/first', '/second', '/third']) expect(await statusOf(patient, get(path))).toBe(200);
    expect(asked).toEqual(['/stream', '/first', '/second', '/third']);
  });

  test('waits for nobody who says nothing, or says it slowly', { timeout: 60_000 }, async () => {
    const { port } = await serve();
    const [silent, slow] = [await connectTo(port), await connectTo(port)];
    for (const socket of [silent, slow]) socket.resume();
    const drip = (async () => {
      for (const letter of `GET / HTTP/1.1\r\nhost: ${'a'.repeat(1_000)}`) {
        if (slow.destroyed) return;
        slow.write(letter);
        await delay(100);
      }
    })();
    await expect
      .poll(() => [silent, slow].map(({ destroyed, readableEnded }) => destroyed || readableEnded), {
        timeout: 30_000,
      })
      .toEqual([true, true]);
    silent.destroy();
    slow.destroy();
    await drip;
  });

  test('gives the newest stranger a place, and leaves those in theirs who proved themselves', async () => {
    const { port } = await serve({ strangersPerAddress: 8 });
    const known = await connectTo(port);
    expect(await statusOf(known, 'GET /prove HTTP/1.1\r\nhost: a\r\n\r\n')).toBe(200);
    const flood: Socket[] = [];
    for (let n = 0; n < 100; n += 1) flood.push(await connectTo(port));
    expect((await get(port)).statusCode).toBe(200);
    await expect.poll(() => flood.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(8);
    expect(known.destroyed).toBe(false);
    expect(await statusOf(known, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toBe(200);
  });

  test('has so many streams and no more, which no newcomer ends', async () => {
    const { port } = await serve({ strangersPerAddress: 4, streamsPerAddress: 3 });
    const streams = await Promise.all([1, 2, 3].map(() => get(port, '/stream')));
    expect((await get(port, '/stream')).statusCode).toBe(503);
    for (let n = 0; n < 20; n += 1) await connectTo(port);
    expect(streams.map(({ statusCode, destroyed }) => [statusCode, destroyed])).toEqual(
      [1, 2, 3].map(() => [200, false]),
    );
    streams[0]?.destroy();
    await expect.poll(async () => (await get(port, '/stream')).statusCode, { timeout: 10_000 }).toBe(200);
  });
});

describe('seats', () => {
  test('are never more than there are, and the oldest of the largest crowd goes', () => {
    const limits = { perAddress: 3, total: 7 };
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.boolean())), (moves) => {
        const seats = new Seats<number>(limits);
        const seated = new Map<number, string>();
        for (const [n, [address, leaves]] of moves.entries()) {
          const [first] = seated.keys();
          if (leaves && first !== undefined) {
            seats.leave(first);
            seated.delete(first);
            continue;
          }
          seated.set(n, address);
          const gone = seats.take(address, n);
          if (gone !== null) {
            const crowd = [...seated].filter(([, where]) => where === seated.get(gone));
            expect(crowd[0]?.[0]).toBe(gone);
            seated.delete(gone);
          }
          const counts = ['a', 'b', 'c', 'd'].map(
            (key) => [...seated.values()].filter((where) => where === key).length,
          );
          expect(Math.max(...counts)).toBeLessThanOrEqual(limits.perAddress);
          expect(seats.size).toBe(seated.size);
          expect(seats.size).toBeLessThanOrEqual(limits.total);
          expect(seated.has(n)).toBe(true);
        }
      }),
    );
  });

  test('count a machine once, also where it has a network of addresses', () => {
    expect(addressKey('::ffff:10.0.0.1')).toBe(addressKey('10.0.0.1'));
    expect(addressKey('2001:db8:1:2:3:4:5:6')).toBe(addressKey('2001:db8:1:2::1'));
    expect(addressKey('2001:db8:1:2::1')).not.toBe(addressKey('2001:db8:1:3::1'));
    expect(addressKey(undefined)).toBe('');
  });
});

import { EventEmitter } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { connect } from '../../src/client/pool.ts';
import { NodePools } from '../../src/wire/node-pools.ts';
import { NodeProbe } from '../../src/client/cluster/node-probe.ts';

const sockets = new Set<Socket>();
const servers: Server[] = [];

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** A TCP server that does what `speak` says at the first bytes of each connection. */
async function listen(speak: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', () => speak(socket));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Sends without end, as fast as the client reads. */
function sendForEver(socket: Socket, chunk: Buffer): void {
  const fill = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', fill);
  fill();
}

const message = (type: string, body: string | Buffer = '', claimed?: number): Buffer => {
  const content = Buffer.from(body as string);
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(claimed ?? content.length + 4, 1);
  return Buffer.concat([head, content]);
};
const AUTHENTICATED = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', 'I')]);

/** A server that shakes hands and then answers each message with `answer`. */
const afterHandshake =
  (answer: (socket: Socket) => void) =>
  (socket: Socket): void => {
    socket.write(AUTHENTICATED);
    socket.once('data', () => answer(socket));
  };

const GARBAGE: [string, (socket: Socket) => void, RegExp][] = [
  ['speaks HTTP', (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), /does not speak PostgreSQL/],
  ['never stops', (socket) => sendForEver(socket, Buffer.alloc(65_536, 0x53)), /does not speak PostgreSQL/],
  [
    'never becomes ready',
    (socket) => {
      socket.write(message('R', Buffer.alloc(4)));
      sendForEver(socket, message('S', Buffer.alloc(1000)));
    },
    /says too much before it is ready/,
  ],
  [
    'is ready before it asked who is there',
    (socket) => socket.write(message('Z', 'I')),
    /before it authenticated/,
  ],
  ['claims a message of 4 GB', (socket) => socket.write(message('R', '', 0xffffffff)), /cannot have/],
  ['sends an error without an end', (socket) => socket.write(message('E', 'Mtext')), /has no end/],
  [
    'asks for an unknown login',
    (socket) => socket.write(message('R', Buffer.alloc(4, 99))),
    /does not speak|not trusted/,
  ],
  ['cuts fields short', (socket) => socket.write(message('K', 'ab')), /does not speak|terminated/],
  [
    'answers with a gigabyte',
    afterHandshake((socket) => socket.write(message('D', '', 0x3fffffff))),
    /cannot/,
  ],
  [
    'answers with noise',
    afterHandshake((socket) => sendForEver(socket, Buffer.alloc(9999, 7))),
    /no message type/,
  ],
  ['answers with no row', afterHandshake((socket) => socket.write(message('C', 'SELECT 0\0'))), /timeout/],
  ['closes at once', (socket) => socket.destroy(), /terminated|ECONNRESET/],
  ['sends half a message', (socket) => socket.write(message('R', 'abc', 50)), /timeout/],
];

describe('a server that is none', () => {
  it.each(GARBAGE)('and %s is down, with a reason', { timeout: 20_000 }, async (_, speak, reason) => {
    const port = await listen(speak);
    const config = { host: '127.0.0.1', port, user: 'app', password: 'x', database: 'app' };
    const probe = new NodeProbe(config, systemClock);
    const before = process.memoryUsage().rss;
    const answer = await probe.probe();
    expect(answer.probe).toMatchObject({ kind: 'down', reason: expect.stringMatching(reason) as string });
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
    probe.close();
  });

  it(
    'never throws out of a probe nor stops the process, whatever it sends',
    { timeout: 60_000 },
    async () => {
      let bytes: Uint8Array = new Uint8Array();
      let isHandshake = false;
      const port = await listen((socket) => {
        const send = (): void => void socket.end(bytes);
        if (isHandshake) afterHandshake(send)(socket);
        else send();
      });
      const frames = fc
        .array(
          fc.tuple(fc.constantFrom(...'RSKZTDCENAtIsnGH123'.split('')), fc.uint8Array({ maxLength: 60 })),
          {
            maxLength: 6,
          },
        )
        .map((list) => Buffer.concat(list.map(([type, body]) => message(type, Buffer.from(body)))));
      const noise = fc.oneof(fc.uint8Array({ maxLength: 500 }), frames);
      await fc.assert(
        fc.asyncProperty(noise, fc.boolean(), async (sent, shakesHands) => {
          bytes = sent;
          isHandshake = shakesHands;
          const config = { host: '127.0.0.1', port, user: 'app', password: 'x', database: 'app' };
          const probe = new NodeProbe(config, systemClock);
          expect((await probe.probe()).probe.kind).toBe('down');
          probe.close();
        }),
        { numRuns: 200, seed: 7 },
      );
    },
  );

  it('costs a pool a clear error in time', async () => {
    const ports = await Promise.all(GARBAGE.slice(0, 5).map(([, speak]) => listen(speak)));
    const hosts = ports.map((port) => ({ host: '127.0.0.1', port }));
    const pool = connect({ hosts, user: 'app', password: 'x', database: 'app', failoverTimeoutMs: 500 });
    await expect(pool.query('SELECT 1')).rejects.toMatchObject({
      code: 'NO_LEADER',
      outcome: 'not-applied',
      details: { nodes: { [`127.0.0.1:${ports[0]}`]: expect.stringMatching(/does not speak/) as string } },
    });
    await pool.end();
  });
});

describe('a server that stops as soon as it is ready', () => {
  it('fails the statement, not the process, when both come in one packet', async () => {
    const fatal = message('E', 'SFATAL\0C57P01\0Mterminating connection\0\0');
    const port = await listen((socket) => socket.end(Buffer.concat([AUTHENTICATED, fatal])));
    const config = { host: '127.0.0.1', port, user: 'app', password: 'x', connectionTimeoutMillis: 3000 };
    const pools = new NodePools(() => config, {
      emitter: new EventEmitter(),
      observer: null,
      clock: systemClock,
      roleChanged: () => undefined,
    });
    const lease = await pools.acquire(`127.0.0.1:${port}`);
    await expect(lease.client.query('SELECT 1')).rejects.toThrow(/not queryable|terminated/);
    lease.release(true);
    await pools.end();
  });
});

describe('a name that does not resolve', () => {
  it('is named in the error', async () => {
    const pool = connect({ host: 'nowhere.invalid', user: 'app', database: 'app', failoverTimeoutMs: 300 });
    await expect(pool.query('SELECT 1')).rejects.toMatchObject({
      code: 'NO_LEADER',
      details: {
        nodes: { 'nowhere.invalid:5432': expect.stringMatching(/nowhere\.invalid|not resolved/) as string },
      },
    });
    await pool.end();
  });
});

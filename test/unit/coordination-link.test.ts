import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { AgentSeal } from '../../src/coordination/agent-seal.ts';
import { LINK_PROTOCOL, SealedLink } from '../../src/coordination/link/link.ts';
import { Proofs } from '../../src/coordination/link/proofs.ts';
import { serveLinks } from '../../src/coordination/link/link-server.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { sealOf } from './coordination-cluster.ts';

const [A, B] = [parseNodeId('a'), parseNodeId('b')];
/** What two agents say to each other is theirs to know: here so much. */
interface Ping {
  readonly term: number;
}
interface Status {
  readonly node: string;
  readonly state: string;
}

const PING: Ping = { term: 1 };
const STATUS: Status = { node: 'b', state: 'running' };

/** The side that is connected to, which supports nobody. */
async function serveOther(seal: AgentSeal): Promise<Listening & { readonly refused: string[] }> {
  const server = createServer();
  const refused: string[] = [];
  const endLinks = serveLinks({
    server,
    api: {
      status: () => STATUS,
      onStatusChange: () => () => undefined,
      answerPing: () => false,
      onRefused: (reason) => void refused.push(reason),
    },
    seal,
    proofs: new Proofs(() => undefined),
    clock: systemClock,
  });
  return { ...(await listen(server, endLinks)), refused };
}

interface Listening extends AsyncDisposable {
  readonly port: number;
}

async function listen(
  server: Pick<Server, 'listen' | 'close' | 'address' | 'once'>,
  end = (): void => undefined,
): Promise<Listening> {
  server.listen(0, '127.0.0.1');
  await once(server as Server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      end();
      server.close();
      if ('closeAllConnections' in server) (server as Server).closeAllConnections();
    },
  };
}

/** This side of a link: pings all the time, and keeps what it heard. */
class Opener implements Disposable {
  readonly statuses: Status[] = [];
  readonly pongs: boolean[] = [];
  readonly distrust: string[] = [];
  readonly link: SealedLink<Ping, Status>;
  readonly #timer: NodeJS.Timeout;

  constructor(port: number, seal: AgentSeal) {
    const node = { name: B, host: '127.0.0.1', agentPort: port };
    this.link = new SealedLink(node, seal, systemClock, {
      onStatus: (status) => void this.statuses.push(status),
      onPong: (supports) => void this.pongs.push(supports),
      onDistrust: (reason) => void this.distrust.push(reason),
    });
    this.#timer = setInterval(() => this.link.send(PING), 20);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.link.close();
  }
}

/** Passes bytes on; what the far side says can be changed. */
function relayTo(port: number, change: (text: string) => string): Promise<Listening> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined));
    near.pipe(far);
    far.on('data', (chunk) => void near.write(change(chunk.toString('latin1')), 'latin1'));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  return listen(server as unknown as Server, () => {
    for (const socket of sockets) socket.destroy();
  });
}

describe('a link between agents', () => {
  test('reads nothing of what a stranger says instead of opening it', async () => {
    const poured: number[] = [];
    const piece = Buffer.alloc(65_536, 'x');
    const sockets = new Set<Socket>();
    const server = createTcpServer((socket) => {
      sockets.add(socket.on('error', () => undefined));
      const pour = (): void => {
        while (!socket.destroyed && socket.write(piece));
        socket.once('drain', pour);
      };
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n');
        pour();
      });
      socket.once('close', () => poured.push(socket.bytesWritten));
    });
    await using stranger = await listen(server as unknown as Server, () => {
      for (const socket of sockets) socket.destroy();
    });
    using opener = new Opener(stranger.port, sealOf(A));
    await expect.poll(() => poured.length, { timeout: 20_000 }).toBeGreaterThan(1);
    // What lay in the sockets' buffers.
    expect(Math.max(...poured)).toBeLessThan(50_000_000);
    expect(opener.statuses).toEqual([]);
  });

  test('is not opened by an answer that was said to be still to come', async () => {
    await using other = await serveOther(sealOf(B));
    let answers = 0;
    await using relay = await relayTo(other.port, (text) => {
      answers += text.startsWith('HTTP/1.1 101') ? 1 : 0;
      return text.replace(/^HTTP/, 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP');
    });
    using opener = new Opener(relay.port, sealOf(A));
    await expect.poll(() => answers, { timeout: 20_000 }).toBeGreaterThan(2);
    expect(opener.statuses).toEqual([]);
  });

  test('carries pings, answers and the status', async () => {
    await using other = await serveOther(sealOf(B));
    using opener = new Opener(other.port, sealOf(A));
    await expect.poll(() => opener.pongs.length, { timeout: 10_000 }).toBeGreaterThan(3);
    expect(opener.pongs).not.toContain(true);
    expect(opener.statuses[0]).toEqual(STATUS);
    expect([...opener.distrust, ...other.refused]).toEqual([]);
    expect(opener.link.distrust).toBeNull();
  });

  test('is refused between different secrets, and both sides say so', async () => {
    await using other = await serveOther(sealOf(B, 'another secret'));
    using opener = new Opener(other.port, sealOf(A));
    await expect.poll(() => opener.distrust[0], { timeout: 10_000 }).toContain('b refuses this node');
    expect(opener.link.distrust).toBe(opener.distrust[0]);
    expect(other.refused[0]).toContain("in the name of a: it does not know this cluster's secrets");
    expect(opener.statuses).toEqual([]);
  });

  test('is not opened to one that takes any secret', async () => {
    const server = createServer();
    const sockets: Socket[] = [];
    server.on('upgrade', (request, socket: Socket) => {
      sockets.push(socket.on('error', () => undefined));
      const [, , , nonce, , code] = (request.headers.authorization ?? '').split(' ');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${LINK_PROTOCOL}\r\nlockstep-seal: ${code} ${nonce}\r\n\r\n`,
      );
      socket.write('code {"kind":"pong","id":1,"supports":true}\n');
    });
    await using falseOther = await listen(server, () => sockets.forEach((socket) => socket.destroy()));
    using opener = new Opener(falseOther.port, sealOf(A));
    await expect.poll(() => opener.distrust[0], { timeout: 10_000 }).toContain('address of b does not know');
    expect([opener.pongs, opener.statuses]).toEqual([[], []]);
  });

  test('ends rather than to believe a support that was made on the way', async () => {
    await using other = await serveOther(sealOf(B));
    let changes = 0;
    await using relay = await relayTo(other.port, (text) =>
      text.replace('"supports":false', () => (changes++, '"supports":true ')),
    );
    using opener = new Opener(relay.port, sealOf(A));
    // It connects again, and again believes nothing.
    await expect.poll(() => changes, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(opener.pongs).toEqual([]);
    expect(opener.statuses.length).toBeGreaterThan(0);
  });
});

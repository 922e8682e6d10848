import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import { SEAL_HEADER } from '../../src/coordination/agent-seal.ts';
import type { AcceptorTransport } from '../../src/coordination/embedded/embedded.ts';
import { createHttpTransport } from '../../src/coordination/embedded/http-transport.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { close, sealOf, serveAcceptor, urlOf } from './coordination-cluster.ts';

const SELF = parseNodeId('a');
const PEER = parseNodeId('b');
const PEEK = { kind: 'peek', key: 'k' } as const;
const LARGE = Buffer.from(`10000\r\n${'x'.repeat(0x1_0000)}\r\n`);
const TINY = Buffer.from('1\r\nx\r\n'.repeat(10_000));

function transportTo(url: string): AcceptorTransport {
  return createHttpTransport({
    self: SELF,
    acceptor: { handle: () => new Promise(() => undefined) },
    urlOf: () => url,
    seal: sealOf(SELF),
    clock: systemClock,
  });
}

/** What a vote comes to, and how much of the answer was read, where a stranger says `head` and then `piece` without an end. */
async function askStranger(
  head: string,
  piece: Buffer,
): Promise<{ readonly error: unknown; readonly bytesRead: number }> {
  const strangers = new Set<Socket>();
  const server = createServer((socket) => {
    strangers.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      const goOn = (): void => {
        while (!socket.destroyed && socket.write(piece));
      };
      socket.on('drain', goOn);
      socket.write(head);
      goOn();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ours: Socket[] = [];
  const notice = (message: unknown): void => void ours.push((message as { socket: Socket }).socket);
  subscribe('net.client.socket', notice);
  try {
    // Its time is no bound here: what was read is.
    const error: unknown = await transportTo(`http://127.0.0.1:${port}`)
      .send(PEER, PEEK, 60_000)
      .then(
        () => null,
        (reason: unknown) => reason,
      );
    expect(ours).toHaveLength(1);
    await expect.poll(() => ours[0]?.destroyed).toBe(true);
    return { error, bytesRead: ours[0]?.bytesRead ?? Number.NaN };
  } finally {
    unsubscribe('net.client.socket', notice);
    for (const socket of strangers) socket.destroy();
    server.close();
  }
}

function head(status: number, header = ''): string {
  return `HTTP/1.1 ${status} Word\r\ntransfer-encoding: chunked\r\n${header}\r\n`;
}

describe('an answer without an end', () => {
  test.each([
    [200, "does not know this cluster's secrets"],
    [401, 'b refuses this node'],
    [503, '/v1/consensus of b answered 503'],
  ])('is not read where it has status %i and no seal', async (status, message) => {
    const { error, bytesRead } = await askStranger(head(status), LARGE);
    expect(error).toMatchObject({ message: expect.stringContaining(message) });
    expect(bytesRead).toBeLessThan(200_000);
  });

  test('is read as far as a register can be long where it pretends to have a seal', async () => {
    const { error, bytesRead } = await askStranger(head(200, `${SEAL_HEADER}: none\r\n`), LARGE);
    expect(error).toMatchObject({ message: 'an answer without an end' });
    expect(bytesRead).toBeLessThan(1_300_000);
  });

  test('is read for less where it comes in tiny pieces', async () => {
    const { error, bytesRead } = await askStranger(head(200, `${SEAL_HEADER}: none\r\n`), TINY);
    expect(error).toMatchObject({ message: 'an answer without an end' });
    expect(bytesRead).toBeLessThan(300_000);
  });

  test('is not waited for where it only ever says that it is to come', async () => {
    const toCome = 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1_000);
    const { error, bytesRead } = await askStranger(toCome, Buffer.from(toCome));
    expect(error).toMatchObject({ message: 'an answer that does not begin' });
    expect(bytesRead).toBeLessThan(300_000);
  });
});

test('a register as long as a request may be is read', async () => {
  const accepted = { version: 1, value: 'ä'.repeat(499_900) };
  const ballot = { counter: 1, proposer: 'a' };
  const reply: ConsensusReply = { kind: 'promise', acceptedBallot: ballot, accepted };
  const server = await serveAcceptor({ handle: async () => reply }, sealOf(PEER));
  try {
    expect(await transportTo(urlOf(server)).send(PEER, PEEK, 60_000)).toEqual(reply);
  } finally {
    await close(server);
  }
});

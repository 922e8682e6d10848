import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import type { AcceptorTransport } from '../../src/coordination/embedded/embedded.ts';
import { createHttpTransport } from '../../src/coordination/embedded/http-transport.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import { close, sealOf, serveAcceptor, urlOf } from './coordination-cluster.ts';

const SELF = parseNodeId('a');
const PEER = parseNodeId('b');
const PEEK = { kind: 'peek', key: 'k' } as const;
const HANGING: Pick<DurableAcceptor, 'handle'> = { handle: () => new Promise(() => undefined) };

function transportTo(url: string, seal = sealOf(SELF)): AcceptorTransport {
  return createHttpTransport({
    clock: systemClock,
    self: SELF,
    acceptor: HANGING,
    urlOf: () => url,
    seal,
  });
}

describe('HTTP transport', () => {
  test('brings the message and the answer, also with a fraction of a millisecond in its time', async () => {
    const reply: ConsensusReply = { kind: 'accepted' };
    const server = await serveAcceptor(
      {
        handle: async (message) =>
          message.kind === 'peek' && message.key === 'k' ? reply : Promise.reject(new Error()),
      },
      sealOf(PEER),
    );
    try {
      expect(await transportTo(urlOf(server)).send(PEER, PEEK, 1_234.567)).toEqual(reply);
      const stranger = transportTo(urlOf(server), sealOf(SELF, 'not the secret'));
      await expect(stranger.send(PEER, PEEK, 1_000)).rejects.toThrow('b refuses this node');
    } finally {
      await close(server);
    }
  });

  test('rejects in time when a peer hangs or refuses, and when the local disk hangs', async () => {
    const server = await serveAcceptor(HANGING, sealOf(PEER));
    const url = urlOf(server);
    try {
      const startedAt = performance.now();
      await expect(transportTo(url).send(PEER, PEEK, 50)).rejects.toThrow();
      await expect(transportTo(url).send(SELF, PEEK, 50)).rejects.toThrow();
      expect(performance.now() - startedAt).toBeLessThan(2_000);
    } finally {
      await close(server);
    }
    await expect(transportTo(url).send(PEER, PEEK, 500)).rejects.toThrow();
  });

  test('rejects when whoever took the port of a peer changes the protocol', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: none\r\n\r\n'),
      );
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      await expect(transportTo(url).send(PEER, PEEK, 500)).rejects.toThrow('an end without an answer');
    } finally {
      server.close();
    }
  });
});

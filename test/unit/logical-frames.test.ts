import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import fc from 'fast-check';
import type pg from 'pg';
import { describe, expect, it, vi } from 'vitest';
import { encodeMessage, FrameReader, WireTakeover } from '../../src/wire/raw/takeover.ts';

const PATIENCE = { timeout: 10_000, interval: 1 };

describe('messages out of a stream of bytes', () => {
  it('are the same however the stream is cut', () => {
    const messages = fc.array(fc.tuple(fc.constantFrom('d', 'k', 'Z'), fc.uint8Array({ maxLength: 40 })));
    const cuts = fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1 });
    fc.assert(
      fc.property(messages, cuts, (sent, sizes) => {
        const bytes = Buffer.concat(sent.map(([type, body]) => encodeMessage(type, [Buffer.from(body)])));
        const got: [string, Uint8Array][] = [];
        const reader = new FrameReader((type, buffer, start, end) =>
          got.push([String.fromCharCode(type), new Uint8Array(buffer.subarray(start, end))]),
        );
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          reader.push(Buffer.from(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(got).toEqual(sent.map(([type, body]) => [type, new Uint8Array(body)]));
      }),
    );
  });

  it('have a length that can be', () => {
    const reader = new FrameReader(() => undefined);
    expect(() => reader.push(Buffer.from([0x64, 0, 0, 0, 3]))).toThrow(/3 bytes/);
    expect(() => new FrameReader(() => undefined).push(Buffer.from([0x64, 0xff, 0, 0, 0]))).toThrow(/bytes/);
  });
});

describe('a connection that is paused', () => {
  it('tells how much came meanwhile while it is handed on piece by piece', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const stream = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [[far]] = (await Promise.all([once(server, 'connection'), once(stream, 'connect')])) as [
      [Socket],
      [],
    ];
    const waiting: number[] = [];
    const wire = new WireTakeover({ connection: { stream } } as unknown as pg.Client, {
      onFrame: () => undefined,
      onRead: () => waiting.push(wire.waitingBytes),
      onClose: () => undefined,
    });
    try {
      wire.pause();
      const message = encodeMessage('d', [Buffer.alloc(100)]);
      for (const count of [1, 2, 3]) {
        far.write(message);
        // Each comes for itself, as a server's packets do.
        await vi.waitFor(() => expect(stream.readableLength).toBe(count * message.length), PATIENCE);
      }
      expect(wire.waitingBytes).toBe(3 * message.length);
      wire.resume();
      await vi.waitFor(() => expect(waiting).toEqual([2 * message.length, message.length, 0]), PATIENCE);
    } finally {
      wire.end();
      far.destroy();
      server.close();
    }
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeMessage, FrameReader } from '../../src/wire/raw/takeover.ts';

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

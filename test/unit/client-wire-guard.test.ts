import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WireGuard } from '../../src/wire/core/wire-guard.ts';

function message(type: string, body: Uint8Array | string = '', claimedBytes?: number): Buffer {
  const content = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(claimedBytes ?? content.length + 4, 1);
  return Buffer.concat([head, content]);
}

/** The first fault, or null when all chunks pass. */
function faultOf(guard: WireGuard, chunks: readonly Uint8Array[]): string | null {
  for (const chunk of chunks) {
    const fault = guard.check(chunk);
    if (fault !== null) return fault;
  }
  return null;
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return places.slice(1).map((place, index) => bytes.subarray(places[index], place));
}

/** A server that asks for no password. */
const LET_IN = message('R', Buffer.alloc(4));
const READY = Buffer.concat([LET_IN, message('Z', 'I')]);
const errorBody = fc
  .array(fc.tuple(fc.constantFrom('S', 'C', 'M'), fc.stringMatching(/^[a-z ]{0,30}$/)))
  .map((fields) => `${fields.map(([type, text]) => `${type}${text}\0`).join('')}\0`);
const validMessage = fc.oneof(
  errorBody.map((body) => message('E', body)),
  errorBody.map((body) => message('N', body)),
  fc
    .tuple(fc.constantFrom('D', 'T', 'C', 'S', '1', '2'), fc.uint8Array({ maxLength: 300 }))
    .map(([type, body]) => message(type, body)),
);

describe('the wire guard', () => {
  it('lets every well-framed message through, however it is cut into chunks', () => {
    fc.assert(
      fc.property(fc.array(validMessage), fc.array(fc.nat()), (messages, cuts) => {
        const chunks = split(Buffer.concat([READY, ...messages, message('Z', 'I')]), cuts);
        expect(faultOf(new WireGuard(), chunks)).toBeNull();
      }),
    );
  });

  it('finds the same fault however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), fc.array(fc.nat()), (bytes, cuts) => {
        const whole = faultOf(new WireGuard(), [READY, bytes]);
        expect(faultOf(new WireGuard(), [READY, ...split(Buffer.from(bytes), cuts)])).toBe(whole);
      }),
    );
  });

  it.each([
    ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['an unknown type', message('?', 'abc')],
    ['a length below its own four bytes', message('D', '', 3)],
    ['a length of gigabytes', message('D', '', 0xffffffff)],
    ['an error without an end', message('E', 'Mno end')],
    ['an error whose fields go on behind the end', message('E', 'Mtext\0\0more')],
    ['an empty error', message('E')],
  ])('finds %s', (_, bytes) => {
    expect(faultOf(new WireGuard(), [bytes])).not.toBeNull();
    expect(faultOf(new WireGuard(), [READY, bytes])).not.toBeNull();
  });

  it('takes little before the server is ready, and long rows afterwards', () => {
    const row = message('D', '', 300_000_000);
    expect(faultOf(new WireGuard(), [row])).not.toBeNull();
    expect(faultOf(new WireGuard(), [READY, row])).toBeNull();
    expect(faultOf(new WireGuard(64_000), [READY, row])).not.toBeNull();
    const endless = Array.from({ length: 20 }, () => message('S', Buffer.alloc(60_000)));
    expect(faultOf(new WireGuard(), [LET_IN, ...endless])).toBe('it says too much before it is ready');
  });
});

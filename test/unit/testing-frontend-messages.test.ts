import { describe, expect, it } from 'vitest';
import { FrontendMessages } from '../../src/testing/core/frontend-messages.ts';

function message(type: string, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)),
  );
  const head = Buffer.alloc(type.length + 4);
  head.write(type);
  head.writeInt32BE(body.length + 4, type.length);
  return Buffer.concat([head, body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const startup = message('', int32(196_608), 'user', 'app', '');

describe('what a client sends', () => {
  it('is read from simple queries and from bound statements, in one piece or byte by byte', () => {
    const sent = Buffer.concat([
      message('', int32(80_877_103)),
      startup,
      message('p', 'password'),
      message('Q', 'BEGIN'),
      message('P', 'commit', 'COMMIT', Buffer.alloc(2)),
      message('B', '', 'commit', Buffer.alloc(6)),
      message('E', '', int32(0)),
      message('S'),
      message('B', '', 'unknown', Buffer.alloc(6)),
    ]);
    expect(new FrontendMessages().take(sent)).toEqual(['BEGIN', 'COMMIT']);
    const messages = new FrontendMessages();
    expect([...sent].flatMap((byte) => messages.take(Buffer.from([byte])))).toEqual(['BEGIN', 'COMMIT']);
  });
});

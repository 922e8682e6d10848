import { createHash } from 'node:crypto';

/**
 * An acceptor's file holds its state twice, each copy behind a line of its own:
 * `<SHA-256 of the rest> <bytes of a copy> <sequence> <bytes of the body>`. The copies are written one after the other,
 * each to disk before the next step, so that a write which a crash tears leaves the other copy whole.
 */
export interface StoredCopy {
  readonly copyBytes: number;
  /** Higher in whatever was written later. */
  readonly sequence: number;
  readonly body: string;
}

const SMALLEST_COPY_BYTES = 16_384;

/** Null when it does not fit. What follows it in the file, of an older and longer copy, does not count. */
export function encodeCopy(copy: StoredCopy): Buffer | null {
  const bytes = encode(copy);
  return bytes.length <= copy.copyBytes ? bytes : null;
}

/** Both copies, for a new file, with room for the body to grow in. */
export function encodeFile(
  sequence: number,
  body: string,
): { readonly copyBytes: number; readonly bytes: Buffer } {
  let copyBytes = SMALLEST_COPY_BYTES;
  while (copyBytes < Buffer.byteLength(body) * 2) copyBytes *= 2;
  const copy = encode({ copyBytes, sequence, body });
  const bytes = Buffer.alloc(copyBytes * 2);
  copy.copy(bytes, 0);
  copy.copy(bytes, copyBytes);
  return { copyBytes, bytes };
}

/** The newer of the copies that are whole; null when none is. */
export function readCopies(file: Buffer): StoredCopy | null {
  const first = decodeCopy(file, 0);
  const second = decodeCopy(file, first?.copyBytes ?? Math.floor(file.length / 2));
  if (first === null || second === null) return first ?? second;
  return second.sequence > first.sequence ? second : first;
}

function encode({ copyBytes, sequence, body }: StoredCopy): Buffer {
  const head = `${copyBytes} ${sequence} ${Buffer.byteLength(body)}`;
  return Buffer.from(`${checksum(`${head}\n${body}`)} ${head}\n${body}\n`);
}

function decodeCopy(file: Buffer, offset: number): StoredCopy | null {
  const end = file.indexOf('\n', offset);
  const line = file.subarray(offset, Math.max(offset, end)).toString('latin1');
  const [, sum, head = '', copyBytes, sequence, bodyBytes] =
    /^(\w{64}) ((\d+) (\d+) (\d+))$/.exec(line) ?? [];
  if (sum === undefined) return null;
  const body = file.subarray(end + 1, end + 1 + Number(bodyBytes)).toString('utf8');
  if (checksum(`${head}\n${body}`) !== sum) return null;
  return { copyBytes: Number(copyBytes), sequence: Number(sequence), body };
}

export function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

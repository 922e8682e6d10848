import { randomBytes } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

const BUFFER_BYTES = 262_144;
const READ_BYTES = 262_144;
const LENGTH_BYTES = 4;
/** What was written is used again: thrown away, it would pile up until Node.js looks for it. */
const SPARE_BUFFERS = 32;

/** Messages that describe a table or a type. The server sends each once, whatever becomes of the subtransaction it was for. */
const RELATION = 0x52;
const TYPE = 0x59;

/** Whole records, each a message behind its length. */
export interface SpoolChunk {
  readonly buffer: Buffer;
  readonly length: number;
}

/**
 * Messages of one transaction that has not ended, in order, in a file that has no name: whatever ends the process takes
 * it along. A short one never reaches the disk. What a subtransaction wrote goes when it is rolled back: everything
 * behind its first message is its own, or that of subtransactions within it.
 */
export class Spool {
  readonly #folder: string;
  readonly #bufferBytes: number;
  readonly #spare: Buffer[];
  /** Told of bytes that wait for the disk, and of those that do no more (negative). */
  readonly #onWaiting: (bytes: number) => void;
  readonly #firstOf = new Map<number, number>();
  #descriptions: { readonly at: number; readonly kind: number; readonly message: Buffer }[] = [];
  #buffer: Buffer;
  #used = 0;
  /** Where the buffer's content goes in the file. */
  #fileEnd = 0;
  #highest = 0;
  #file: Promise<FileHandle> | null = null;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** `spare`: buffers that were written and may be used again, of this and other spools. */
  constructor(
    folder: string,
    onWaiting: (bytes: number) => void,
    bufferBytes: number = BUFFER_BYTES,
    spare: Buffer[] = [],
  ) {
    this.#folder = folder;
    this.#onWaiting = onWaiting;
    this.#bufferBytes = bufferBytes;
    this.#spare = spare;
    this.#buffer = this.#take(bufferBytes);
  }

  /** Adds the message of this kind, `buffer[start, end)` without its kind, which the subtransaction has written. */
  add(subxid: number, kind: number, buffer: Buffer, start: number, end: number): void {
    if (!this.#firstOf.has(subxid)) this.#firstOf.set(subxid, this.#fileEnd + this.#used);
    const size = LENGTH_BYTES + 1 + end - start;
    if (this.#used + size > this.#buffer.length) this.#flush(size);
    this.#buffer.writeUInt32BE(1 + end - start, this.#used);
    this.#buffer[this.#used + LENGTH_BYTES] = kind;
    buffer.copy(this.#buffer, this.#used + LENGTH_BYTES + 1, start, end);
    if (kind === RELATION || kind === TYPE) {
      const at = this.#fileEnd + this.#used;
      this.#descriptions.push({ at, kind, message: Buffer.from(buffer.subarray(start, end)) });
    }
    this.#used += size;
    this.#highest = Math.max(this.#highest, this.#fileEnd + this.#used);
  }

  /** What it takes: the file keeps its length when a part of it is rolled back, and is written over. */
  get bytes(): number {
    return this.#highest;
  }

  /** Takes out what a subtransaction of `xid` has written, with all within it; descriptions stay. */
  rollBack(subxid: number, xid: number): void {
    const first = this.#firstOf.get(subxid);
    if (first === undefined) return;
    for (const [each, at] of this.#firstOf) if (at >= first) this.#firstOf.delete(each);
    if (first >= this.#fileEnd) this.#used = first - this.#fileEnd;
    else {
      // What is in the file behind it is written over.
      this.#fileEnd = first;
      this.#used = 0;
    }
    const described = this.#descriptions.filter(({ at }) => at >= first);
    this.#descriptions = this.#descriptions.filter(({ at }) => at < first);
    for (const { kind, message } of described) this.add(xid, kind, message, 0, message.length);
  }

  /** All of it, in order. Rejects with the error of the disk. */
  async *read(): AsyncGenerator<SpoolChunk, void, undefined> {
    await this.#writing;
    const file = await this.#file;
    for (let at = 0; file !== null && at < this.#fileEnd;) {
      const chunk = await readRecords(file, at, this.#fileEnd);
      at += chunk.length;
      yield chunk;
    }
    if (this.#used > 0) yield { buffer: this.#buffer, length: this.#used };
  }

  /** Resolves once the disk has all that it was given; rejects with its error. */
  get written(): Promise<void> {
    return this.#writing;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing.catch(() => undefined);
    const file = await this.#file?.catch(() => null);
    await file?.close();
  }

  #take(bytes: number): Buffer {
    const spare = bytes <= this.#bufferBytes ? this.#spare.pop() : undefined;
    return spare ?? Buffer.allocUnsafeSlow(Math.max(this.#bufferBytes, bytes));
  }

  #flush(next: number): void {
    const [bytes, used, at] = [this.#buffer, this.#used, this.#fileEnd];
    this.#buffer = this.#take(next);
    this.#used = 0;
    if (used === 0) return;
    this.#fileEnd += used;
    this.#file ??= openNameless(this.#folder);
    const file = this.#file;
    this.#writing = this.#writing
      .then(async () => {
        if (!this.#isClosed) await writeAll(await file, bytes, used, at);
        if (bytes.length === this.#bufferBytes && this.#spare.length < SPARE_BUFFERS) this.#spare.push(bytes);
      })
      .finally(() => this.#onWaiting(-used));
    // Whoever reads is told; and so is the stream, by `written`.
    this.#writing.catch(() => undefined);
    this.#onWaiting(used);
  }
}

async function openNameless(folder: string): Promise<FileHandle> {
  const path = join(folder, `lockstep-spool-${randomBytes(12).toString('hex')}`);
  const file = await open(path, 'wx+', 0o600);
  await unlink(path);
  return file;
}

async function writeAll(file: FileHandle, bytes: Buffer, length: number, at: number): Promise<void> {
  for (let done = 0; done < length;) {
    const { bytesWritten } = await file.write(bytes, done, length - done, at + done);
    done += bytesWritten;
  }
}

/** As many whole records from `at` on as fit, and at least one. */
async function readRecords(file: FileHandle, at: number, end: number): Promise<SpoolChunk> {
  for (let size = READ_BYTES; ; size = Math.max(size * 2, READ_BYTES)) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(size, end - at));
    for (let have = 0; have < buffer.length;) {
      const { bytesRead } = await file.read(buffer, have, buffer.length - have, at + have);
      if (bytesRead === 0) throw new Error('the spool file is shorter than what was written to it');
      have += bytesRead;
    }
    let length = 0;
    while (length + LENGTH_BYTES <= buffer.length) {
      const next = length + LENGTH_BYTES + buffer.readUInt32BE(length);
      if (next > buffer.length) break;
      length = next;
    }
    if (length > 0) return { buffer, length };
  }
}

/** The messages of a chunk, each `buffer[start, end)` beginning with its kind. */
export function* recordsOf({
  buffer,
  length,
}: SpoolChunk): Generator<{ readonly start: number; readonly end: number }, void, undefined> {
  for (let at = 0; at < length;) {
    const end = at + LENGTH_BYTES + buffer.readUInt32BE(at);
    yield { start: at + LENGTH_BYTES, end };
    at = end;
  }
}

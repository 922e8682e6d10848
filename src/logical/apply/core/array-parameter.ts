const HEADER_BYTES = 20;
const FIRST_BYTES = 4_096;
const NULL_LENGTH = -1;
/** Below it, a loop copies faster than a call. */
const SHORT_BYTES = 48;

/**
 * A one-dimensional array in PostgreSQL's binary format, built value by value. A field of a change is framed like
 * an element of an array (length, bytes), so it is taken as it is.
 */
export class ArrayParameter {
  #bytes: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = HEADER_BYTES;
  #count = 0;
  #hasNull = 0;

  get count(): number {
    return this.#count;
  }

  /** Adds `length` bytes from `from` on, which begin with the value's own length. */
  addField(source: Buffer, from: number, length: number): void {
    if (this.#at + length > this.#bytes.length) this.#grow(length);
    const bytes = this.#bytes;
    let at = this.#at;
    if (length < SHORT_BYTES)
      for (let index = 0; index < length; index++) bytes[at++] = source[from + index] as number;
    else {
      source.copy(bytes, at, from, from + length);
      at += length;
    }
    this.#at = at;
    this.#count++;
  }

  addNull(): void {
    if (this.#at + 4 > this.#bytes.length) this.#grow(4);
    this.#bytes.writeInt32BE(NULL_LENGTH, this.#at);
    this.#at += 4;
    this.#count++;
    this.#hasNull = 1;
  }

  /** The array, with the type's oid on the server that reads it. Source: PostgreSQL, array_recv. */
  finish(elementOid: number): Buffer {
    const bytes = this.#bytes;
    if (this.#count === 0) return emptyArray(elementOid);
    bytes.writeInt32BE(1, 0);
    bytes.writeInt32BE(this.#hasNull, 4);
    bytes.writeUInt32BE(elementOid, 8);
    bytes.writeInt32BE(this.#count, 12);
    bytes.writeInt32BE(1, 16);
    return bytes.subarray(0, this.#at);
  }

  #grow(more: number): void {
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + more));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

function emptyArray(elementOid: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(elementOid, 8);
  return bytes;
}

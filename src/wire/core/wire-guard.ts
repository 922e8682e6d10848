import { AuthGuard, SAFE_AUTH } from './auth-guard.ts';

/** All that a server may send. Source: PostgreSQL documentation, "Message Formats". */
const IS_MESSAGE_TYPE = new Uint8Array(256);
for (const type of new TextEncoder().encode('RKSNEZ123nstTDCIAGHWcdvV')) IS_MESSAGE_TYPE[type] = 1;

const ERROR = 0x45;
const NOTICE = 0x4e;
const READY = 0x5a;
const AUTHENTICATION = 0x52;
const NEGOTIATE = 0x76;
/** Of the kinds of authentication that there are. */
const LAST_AUTH_CODE = 12;
const HEADER_BYTES = 5;

/** Far more than any server says before it is ready for the first query. */
const MAX_STARTUP_BYTES = 256 * 1024;

/** No message of PostgreSQL is longer. Source: PostgreSQL, `MaxAllocSize`. */
const MAX_MESSAGE_BYTES = 0x3fffffff;

/**
 * Follows the frames of a server's messages through the chunks in which they arrive, so that what is no
 * PostgreSQL server is found out before its bytes reach pg's parser, which gathers any length that a header
 * claims and never returns from an error message without an end.
 */
export class WireGuard {
  readonly #maxMessageBytes: number;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #bodyBytes = 0;
  #type = 0;
  #isReady = false;
  #startupBytes = 0;
  /** Where an error's fields stand: before a field's type, inside its text, behind the end. */
  #fields: 'type' | 'text' | 'end' = 'type';

  readonly #auth: AuthGuard;
  #authCode = 0;
  #authBytes = 0;

  constructor(maxMessageBytes: number = MAX_MESSAGE_BYTES, auth: AuthGuard = new AuthGuard(SAFE_AUTH)) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#auth = auth;
  }

  /** Whether the last fault is how the server authenticates, rather than that it is no PostgreSQL server. */
  isAuthFault = false;

  /** What is wrong with the bytes; null while they may be a server's. */
  check(chunk: Uint8Array): string | null {
    if (!this.#isReady) {
      this.#startupBytes += chunk.length;
      if (this.#startupBytes > MAX_STARTUP_BYTES) return 'it says too much before it is ready';
    }
    let at = 0;
    while (at < chunk.length) {
      if (this.#headerBytes < HEADER_BYTES) {
        const isWhole = this.#headerBytes === 0 && chunk.length - at >= HEADER_BYTES;
        at = isWhole ? this.#readHeader(chunk, at) : this.#gatherHeader(chunk, at);
        if (this.#headerBytes < HEADER_BYTES) return null;
        const fault = this.#judgeHeader();
        if (fault !== null) return fault;
      }
      const end = Math.min(at + this.#bodyBytes, chunk.length);
      this.#bodyBytes -= end - at;
      if ((this.#type === ERROR || this.#type === NOTICE) && !this.#followFields(chunk, at, end))
        return 'an error message has no end';
      if (this.#type === AUTHENTICATION) {
        const fault = this.#judgeAuth(chunk, at, end);
        if (fault !== null) return fault;
      }
      at = end;
      if (this.#bodyBytes > 0) return null;
      this.#headerBytes = 0;
      if (this.#type === READY) this.#isReady = true;
    }
    return null;
  }

  #readHeader(chunk: Uint8Array, at: number): number {
    this.#type = chunk[at] ?? 0;
    const high = (chunk[at + 1] ?? 0) * 0x1000000;
    this.#bodyBytes =
      high + (((chunk[at + 2] ?? 0) << 16) | ((chunk[at + 3] ?? 0) << 8) | (chunk[at + 4] ?? 0)) - 4;
    this.#headerBytes = HEADER_BYTES;
    return at + HEADER_BYTES;
  }

  #gatherHeader(chunk: Uint8Array, start: number): number {
    let at = start;
    for (; this.#headerBytes < HEADER_BYTES && at < chunk.length; at += 1) {
      this.#header[this.#headerBytes] = chunk[at] ?? 0;
      this.#headerBytes += 1;
    }
    if (this.#headerBytes === HEADER_BYTES) this.#readHeader(this.#header, 0);
    return at;
  }

  #judgeHeader(): string | null {
    if (IS_MESSAGE_TYPE[this.#type] !== 1) return `there is no message type ${this.#type}`;
    const most = this.#isReady ? this.#maxMessageBytes : MAX_STARTUP_BYTES;
    if (this.#bodyBytes < 0 || this.#bodyBytes > most)
      return `a message cannot have ${this.#bodyBytes + 4} bytes`;
    this.#fields = 'type';
    this.#authCode = 0;
    this.#authBytes = 0;
    return this.#judgeOrder();
  }

  /** Until it let the client in, a server has nothing to say but how it wants to know it, or why not. */
  #judgeOrder(): string | null {
    const isAuth = this.#type === AUTHENTICATION;
    const maySay = isAuth || this.#type === ERROR || this.#type === NOTICE || this.#type === NEGOTIATE;
    if (this.#auth.isOver ? !isAuth : maySay) return null;
    return this.#auth.isOver ? 'it authenticates twice' : 'it is ready before it authenticated anybody';
  }

  /** The first four bytes of the body say what is asked for; they may come in pieces. */
  #judgeAuth(chunk: Uint8Array, start: number, end: number): string | null {
    for (let at = start; at < end && this.#authBytes < 4; at += 1) {
      this.#authCode = this.#authCode * 256 + (chunk[at] ?? 0);
      this.#authBytes += 1;
      if (this.#authBytes < 4) continue;
      const fault = this.#auth.judge(this.#authCode);
      this.isAuthFault = fault !== null && this.#authCode <= LAST_AUTH_CODE;
      return fault;
    }
    return null;
  }

  #followFields(chunk: Uint8Array, start: number, end: number): boolean {
    for (let at = start; at < end; at += 1) {
      if (this.#fields === 'end') return false;
      const isZero = chunk[at] === 0;
      if (this.#fields === 'text') this.#fields = isZero ? 'type' : 'text';
      else this.#fields = isZero ? 'end' : 'text';
    }
    return this.#bodyBytes > 0 || this.#fields === 'end';
  }
}

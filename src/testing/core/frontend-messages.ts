const TYPE_BYTES = 1;
const LENGTH_BYTES = 4;
const QUERY = 0x51;
const PARSE = 0x50;
const BIND = 0x42;
/** Asks for TLS or GSS before the startup message, which has no type either. */
const ENCRYPTION_REQUESTS: ReadonlySet<number> = new Set([80_877_103, 80_877_104]);

/**
 * Follows one connection's frontend messages, in whatever pieces they arrive. Source: PostgreSQL
 * documentation, "Message Formats". It cannot read TLS.
 */
export class FrontendMessages {
  #pending: Buffer = Buffer.alloc(0);
  #isStarted = false;
  readonly #prepared = new Map<string, string>();

  /** Takes the next bytes and tells the SQL of every Query and Bind message that they complete. */
  take(bytes: Buffer): string[] {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const found: string[] = [];
    for (;;) {
      const typeBytes = this.#isStarted ? TYPE_BYTES : 0;
      if (this.#pending.length < typeBytes + LENGTH_BYTES) return found;
      const size = typeBytes + this.#pending.readInt32BE(typeBytes);
      if (this.#pending.length < size) return found;
      const body = this.#pending.subarray(typeBytes + LENGTH_BYTES, size);
      if (this.#isStarted) {
        const text = this.#read(this.#pending[0] ?? 0, body);
        if (text !== null) found.push(text);
      } else this.#isStarted = !ENCRYPTION_REQUESTS.has(body.readInt32BE(0));
      this.#pending = this.#pending.subarray(size);
    }
  }

  #read(type: number, body: Buffer): string | null {
    const [first = '', second = ''] = body.toString('utf8').split('\0', 2);
    switch (type) {
      case QUERY:
        return first;
      case PARSE:
        this.#prepared.set(first, second);
        return null;
      case BIND:
        return this.#prepared.get(second) ?? null;
      default:
        return null;
    }
  }
}

import { writeFile } from 'node:fs/promises';

/** A host's wall clock, which can be set wrong. Monotonic clocks are the machine's. */
export class Clock {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** For the processes that go by this clock; the file must be there when they start. */
  get environment(): Readonly<Record<string, string>> {
    return { LOCKSTEP_CHAOS_CLOCK: this.#file };
  }

  /** From now on the clock is wrong by so much, to the millisecond; 0 is right. */
  async set(seconds: number): Promise<void> {
    const offset = Buffer.alloc(8);
    offset.writeBigInt64LE(BigInt(Math.round(seconds * 1_000)));
    // Written over, not anew: running processes have this file mapped.
    await writeFile(this.#file, offset, { flag: 'r+' });
  }

  async create(): Promise<void> {
    await writeFile(this.#file, Buffer.alloc(8), { mode: 0o644 });
  }
}

import { close, constants, fstatSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { LogRotation } from '../host/log-rotation.ts';
import { machineClock } from '../clock/machine-clock.ts';
import { openPlainFile } from '../host/own-file.ts';

const readFile = promisify(read);
const closeFile = promisify(close);

/** What is read of the log at a time; of more, between two looks, the beginning is not looked at. */
const LOOK_BYTES = 1 << 18;
/** One kind of damage is told as often, however many of its lines there are. */
const TOLD_EVERY_MS = 60_000;
const LONGEST_LINE = 300;

/**
 * A record at which PostgreSQL stops to read its log. It says so once each time that it starts after a crash, as its log ends
 * in the middle of a record then, and fetches the rest from the leader. What was fetched and is damaged is complained of again
 * by the same process: see emode_for_corrupt_record in PostgreSQL's xlogrecovery.c.
 */
const UNREADABLE = /\[(\d+)\].* incorrect resource manager data checksum in record at (\S+)/;
const DAMAGED_LOG = 'its log has a damaged record';

/** What PostgreSQL says of files that are not as it wrote them. */
const DAMAGE: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [/page verification failed|invalid page in block/, 'a page of its data is damaged'],
  [/WAL contains references to invalid pages/, 'its log does not fit its data'],
  [/could not locate a valid checkpoint record/, 'its log is damaged where a start begins'],
  [/: Input\/output error/, 'its disk fails'],
];

/** Reads PostgreSQL's log for damage, a piece after the other. */
export class DamageReader {
  /** The record that could not be read last, and the process that said so. */
  #unreadable: string | null = null;

  /** The kinds of damage that these lines tell of, each with the first line that does. */
  read(text: string): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const line of text.split('\n')) {
      const meaning = this.#meaningOf(line);
      if (meaning === undefined || found.has(meaning)) continue;
      // Behind the time and the process: see log_line_prefix in settings.ts.
      found.set(meaning, line.replace(/^.*? \[\d+\] /, '').slice(0, LONGEST_LINE));
    }
    return found;
  }

  #meaningOf(line: string): string | undefined {
    const unreadable = UNREADABLE.exec(line)?.slice(1).join(' ');
    if (unreadable === undefined) return DAMAGE.find(([pattern]) => pattern.test(line))?.[1];
    const isAgain = unreadable === this.#unreadable;
    this.#unreadable = unreadable;
    return isAgain ? DAMAGED_LOG : undefined;
  }
}

/** PostgreSQL's log: kept bounded, and read for what it says of damage. */
export class ServerLog {
  readonly #path: string;
  readonly #onDamage: (problem: string) => void;
  readonly #rotation: LogRotation;
  readonly #damage = new DamageReader();
  readonly #toldAtMs = new Map<string, number>();
  #readUpTo: number | null = null;

  constructor(path: string, onDamage: (problem: string) => void) {
    this.#path = path;
    this.#onDamage = onDamage;
    this.#rotation = new LogRotation(path, { beforeLook: () => this.#look() });
  }

  close(): void {
    this.#rotation.close();
  }

  async #look(): Promise<void> {
    const log = openPlainFile(this.#path, constants.O_RDONLY, process.geteuid?.() ?? null);
    try {
      const { size } = fstatSync(log);
      // What was there before is no news; and it may have been put aside.
      const from = Math.max(Math.min(this.#readUpTo ?? size, size), size - LOOK_BYTES);
      const { bytesRead, buffer } = await readFile(log, Buffer.alloc(size - from), 0, size - from, from);
      const text = buffer.subarray(0, bytesRead).toString('utf8');
      this.#readUpTo = from + bytesRead;
      this.#tell(this.#damage.read(text));
    } finally {
      await closeFile(log);
    }
  }

  #tell(damage: ReadonlyMap<string, string>): void {
    const nowMs = machineClock.nowMs();
    for (const [meaning, line] of damage) {
      if (nowMs - (this.#toldAtMs.get(meaning) ?? Number.NEGATIVE_INFINITY) < TOLD_EVERY_MS) continue;
      this.#toldAtMs.set(meaning, nowMs);
      this.#onDamage(`PostgreSQL finds damage: ${meaning} (${line})`);
    }
  }
}

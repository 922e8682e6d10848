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
 * What stands before a message. Nobody but PostgreSQL begins a line: it puts a tab before the others of a text that has many,
 * and a statement or a context is a line with a word of its own here.
 */
const HEAD = /^[^\t]*?\b([A-Z]+): {2}/;
const SEVERITIES: ReadonlySet<string> = new Set(['LOG', 'WARNING', 'ERROR', 'FATAL', 'PANIC']);
/** The process and its kind: see log_line_prefix in settings.ts. */
const SENDER = / \[(\d+)\] (.*?) ?$/;
/**
 * The processes that run nobody's SQL, where RAISE can say anything; also those of a log without kinds. Those of a session find
 * damage too.
 */
const PLAIN_PROCESSES: ReadonlySet<string> = new Set([
  'postmaster',
  'startup',
  'checkpointer',
  'background writer',
  'walwriter',
  'walreceiver',
  'archiver',
  'autovacuum launcher',
  'io worker',
  'walsummarizer',
  '',
]);
const BY_SESSION = ', says a session, whose SQL may have made that up';

/**
 * A record at which PostgreSQL stops to read its log. It says so once each time that it starts after a crash, as its log ends
 * in the middle of a record then, and fetches the rest from the leader. What was fetched and is damaged is complained of again
 * by the same process: see emode_for_corrupt_record in PostgreSQL's xlogrecovery.c.
 */
const UNREADABLE = /^incorrect resource manager data checksum in record at (\S+)/;
const DAMAGED_LOG = 'its log has a damaged record';

/** How PostgreSQL begins what it says of files that are not as it wrote them. What a user wrote stands behind its own words. */
const DAMAGE: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [/^page verification failed, |^invalid page in block \d/, 'a page of its data is damaged'],
  [/^(?:zeroing out )?\d+ invalid pages among blocks /, 'a page of its data is damaged'],
  [/^WAL contains references to invalid pages/, 'its log does not fit its data'],
  [/^could not locate a valid checkpoint record/, 'its log is damaged where a start begins'],
  // A name that a user chose ends with a quote.
  [/^could not .*: Input\/output error$/, 'its disk fails'],
];

/** Reads PostgreSQL's log for damage, a piece after the other. */
export class DamageReader {
  /** The record that could not be read last, and the process that said so. */
  #unreadable: string | null = null;

  /** The kinds of damage that these lines tell of, each with the first line that does. */
  read(text: string): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const line of text.split('\n')) {
      const [head, severity = ''] = HEAD.exec(line) ?? [''];
      if (!SEVERITIES.has(severity)) continue;
      const message = line.slice(head.length);
      const meaning = this.#meaningOf(head.slice(0, -`${severity}:  `.length), message);
      if (meaning === undefined || found.has(meaning)) continue;
      found.set(meaning, `${severity}:  ${message}`.slice(0, LONGEST_LINE));
    }
    return found;
  }

  #meaningOf(prefix: string, message: string): string | undefined {
    const [, process = '', kind = null] = SENDER.exec(prefix) ?? [];
    const isPlain = kind !== null && PLAIN_PROCESSES.has(kind);
    const place = UNREADABLE.exec(message)?.[1];
    if (place === undefined) {
      const meaning = DAMAGE.find(([pattern]) => pattern.test(message))?.[1];
      return meaning === undefined || isPlain ? meaning : meaning + BY_SESSION;
    }
    // Sessions do not read the log on from there.
    if (!isPlain) return undefined;
    const unreadable = `${process} ${place}`;
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
      const start = Math.min(this.#readUpTo ?? size, size);
      const from = Math.max(start, size - LOOK_BYTES);
      const { bytesRead, buffer } = await readFile(log, Buffer.alloc(size - from), 0, size - from, from);
      const piece = buffer.subarray(0, bytesRead);
      // Whole lines alone: what begins in the middle of one could be a user's text.
      const begin = from > start ? piece.indexOf('\n') + 1 : 0;
      const end = piece.lastIndexOf('\n') + 1;
      this.#readUpTo = from + end;
      this.#tell(this.#damage.read(piece.subarray(begin, end).toString('utf8')));
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

import type { Clock } from '../../model/clock.ts';

/** PostgreSQL's parser, as `libpg-query` gives it. */
interface Parser {
  loadModule(): Promise<void>;
  parseSync(sql: string): unknown;
}

/** What is done with a statement's tree, some time after it was asked for. */
type TreeReader = (tree: unknown) => void;

/** A parse takes 10 to 130 µs, so this is at most a few percent of a core. */
const PARSES_PER_SECOND = 500;
const MAX_WAITING = 100;

/** The tree of a longer text takes tens of megabytes, and such texts are seldom sent twice. */
const MAX_PARSED_CHARACTERS = 20_000;

/**
 * PostgreSQL's own grammar for statements that the lexer is in doubt about. It is loaded when it is first
 * needed, and parses in the background, one text between two turns of the event loop. It keeps no process
 * alive, and where it cannot be loaded nothing is ever parsed.
 */
export class Grammar {
  readonly #clock: Clock;
  readonly #load: () => Promise<Parser>;
  readonly #waiting: { readonly sql: string; readonly read: TreeReader }[] = [];
  #parser: Promise<Parser | null> | null = null;
  #isRunning = false;
  #isUnavailable = false;
  #isClosed = false;
  #allowance = MAX_WAITING;
  #countedAtMs = 0;

  constructor(clock: Clock, load: () => Promise<Parser> = loadParser) {
    this.#clock = clock;
    this.#load = load;
  }

  /**
   * Hands the tree of `sql` to `read` later, unless PostgreSQL cannot parse it. False when too much is
   * waiting: the text should be offered again the next time it is seen.
   */
  offer(sql: string, read: TreeReader): boolean {
    if (this.#isUnavailable || this.#isClosed || sql.length > MAX_PARSED_CHARACTERS) return true;
    if (this.#waiting.length >= MAX_WAITING || !this.#isAllowed()) return false;
    this.#waiting.push({ sql, read });
    if (!this.#isRunning) void this.#run();
    return true;
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting.length = 0;
  }

  #isAllowed(): boolean {
    const nowMs = this.#clock.nowMs();
    const earned = ((nowMs - this.#countedAtMs) / 1000) * PARSES_PER_SECOND;
    this.#allowance = Math.min(MAX_WAITING, this.#allowance + earned);
    this.#countedAtMs = nowMs;
    if (this.#allowance < 1) return false;
    this.#allowance -= 1;
    return true;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    this.#parser ??= this.#load().then(
      async (parser) => {
        await parser.loadModule();
        return parser;
      },
      () => null,
    );
    const parser = await this.#parser.catch(() => null);
    if (parser === null) {
      this.#isUnavailable = true;
      this.#waiting.length = 0;
    } else {
      for (;;) {
        await nextTurn();
        const next = this.#waiting.shift();
        if (next === undefined) break;
        const tree = parseOrNull(parser, next.sql);
        if (tree !== null) next.read(tree);
      }
    }
    this.#isRunning = false;
  }
}

function loadParser(): Promise<Parser> {
  return import('libpg-query');
}

/** A server may know syntax that this grammar does not; then the lexer's word stands. */
function parseOrNull(parser: Parser, sql: string): unknown {
  try {
    return parser.parseSync(sql);
  } catch {
    return null;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve).unref());
}

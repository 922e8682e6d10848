import type { Classification } from '../classify/core/classify.ts';
import type { StatementConfig } from './queryable.ts';

/** Texts watched at a time, in each of two generations: those not used for a whole one are forgotten. */
const GENERATION = 1000;

/** Longer texts are mostly bulk statements, seen once. */
const MAX_LENGTH = 10_000;

/** A text that had to be prepared anew this often changes with its tables, and is no longer prepared. */
const MAX_RENEWALS = 3;

/** After so many names that a server did not know, something between drops them: a proxy, most likely. */
const MAX_UNKNOWN_NAMES = 10;

interface WatchedText {
  uses: number;
  renewals: number;
  name: string | undefined;
}

/**
 * Gives statements that are sent again and again a name, under which a connection prepares them once: the
 * server then parses and plans them no more, which is a third of the work of a point read. The plan may
 * become a generic one, as with any prepared statement. Source: PostgreSQL documentation, "PREPARE".
 */
export class PreparedTexts {
  readonly #prepareAfter: number;
  #recent = new Map<string, WatchedText>();
  #older = new Map<string, WatchedText>();
  #names = 0;
  #unknownNames = 0;

  /** A text is named at its use number `prepareAfter`; never when that is 0. */
  constructor(prepareAfter: number) {
    this.#prepareAfter = prepareAfter;
  }

  /** The name to prepare this statement under; undefined where it is not worth it, or has one of the app's. */
  nameFor(statement: StatementConfig, { kind, isSingle }: Classification): string | undefined {
    const { text, values, name } = statement;
    if (this.#prepareAfter === 0 || name !== undefined || values == null || values.length === 0)
      return undefined;
    if (!isSingle || kind === 'session' || text.length > MAX_LENGTH || hasOwnProtocol(statement))
      return undefined;
    const watched = this.#watch(text);
    watched.uses += 1;
    if (watched.name !== undefined || watched.uses < this.#prepareAfter) return watched.name;
    if (watched.renewals > MAX_RENEWALS || this.#unknownNames > MAX_UNKNOWN_NAMES) return undefined;
    this.#names += 1;
    watched.name = `lockstep_s${this.#names}`;
    return watched.name;
  }

  /** What was prepared for this text failed where a new statement may not: the next one gets a new name. */
  renew(text: string, isNameUnknown: boolean): void {
    if (isNameUnknown) this.#unknownNames += 1;
    const watched = this.#watch(text);
    watched.name = undefined;
    watched.renewals += 1;
  }

  #watch(text: string): WatchedText {
    const recent = this.#recent.get(text);
    if (recent !== undefined) return recent;
    const watched = this.#older.get(text) ?? { uses: 0, renewals: 0, name: undefined };
    this.#recent.set(text, watched);
    if (this.#recent.size > GENERATION) {
      this.#older = this.#recent;
      this.#recent = new Map();
    }
    return watched;
  }
}

/** Options by which pg sends a statement in a way of its own. */
function hasOwnProtocol(statement: StatementConfig): boolean {
  return 'rows' in statement || 'portal' in statement || 'binary' in statement;
}

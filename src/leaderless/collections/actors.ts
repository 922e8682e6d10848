import { keyId } from '../core/cells.ts';
import { msOfHlc } from '../core/hlc.ts';

/** What one actor has written to one item so far. */
export interface OwnTally {
  readonly actor: string;
  readonly added: number;
  readonly bornAt: number;
}

const MAX_KEPT = 100_000;

/**
 * The tallies that this process alone raises. One that is not known any more, is old, or was written to in doubt, is never taken up
 * again: its next add gets a new actor, because a total that was read back could lack an add that is still under way.
 */
export class Actors {
  readonly #writer: string;
  readonly #lifeMs: number;
  readonly #kept = new Map<string, OwnTally>();
  #given = 0;

  /** `lifeMs`: for so long after its first write an actor is taken up; by then no node has sealed the time of that. */
  constructor(writer: string, lifeMs: number) {
    this.#writer = writer;
    this.#lifeMs = lifeMs;
  }

  /** The total after adding `quantity`; from now on that is what this process knows. */
  raise(collection: string, key: string, item: string, quantity: number, now: () => number): OwnTally {
    const id = `${keyId(collection, key)}\u0000${item}`;
    const at = now();
    const last = this.#kept.get(id);
    const known =
      last !== undefined && msOfHlc(at) - msOfHlc(last.bornAt) < this.#lifeMs
        ? last
        : { actor: this.#nextActor(), added: 0, bornAt: at };
    const raised = { ...known, added: known.added + quantity };
    this.#kept.delete(id);
    this.#kept.set(id, raised);
    if (this.#kept.size > MAX_KEPT) this.#forgetOldest();
    return raised;
  }

  /**
   * The write of this total failed. Returns whether nobody has built on it: a later total holds it too, and may have been
   * written.
   */
  forget(collection: string, key: string, item: string, total: { actor: string; added: number }): boolean {
    const id = `${keyId(collection, key)}\u0000${item}`;
    const known = this.#kept.get(id);
    if (known?.actor !== total.actor) return false;
    this.#kept.delete(id);
    return known.added === total.added;
  }

  #nextActor(): string {
    this.#given += 1;
    return `${this.#writer}.${this.#given.toString(36)}`;
  }

  #forgetOldest(): void {
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined) this.#kept.delete(oldest);
  }
}

import { classify } from './core/classify.ts';
import type { Classification } from './core/classify.ts';

const MAX_CACHED_TEXTS = 2000;

/** Longer texts are mostly bulk statements with their values inside, seen once. */
const MAX_CACHED_LENGTH = 10_000;

/**
 * Classifications by statement text, the least recently used forgotten first. What a follower refused is
 * remembered as the leader's.
 */
export class Classifier {
  readonly #cache = new Map<string, Classification>();

  classify(sql: string): Classification {
    const known = this.#cache.get(sql);
    if (known !== undefined) {
      this.#cache.delete(sql);
      this.#cache.set(sql, known);
      return known;
    }
    const found = classify(sql);
    this.#remember(sql, found);
    return found;
  }

  /** From now on this text goes to the leader. */
  teachLeader(sql: string): void {
    this.#cache.delete(sql);
    this.#remember(sql, {
      kind: 'write',
      reason: 'a follower refused it',
      isSingle: true,
      mayUseFollower: false,
    });
  }

  #remember(sql: string, classification: Classification): void {
    if (sql.length > MAX_CACHED_LENGTH) return;
    this.#cache.set(sql, classification);
    if (this.#cache.size <= MAX_CACHED_TEXTS) return;
    const [oldest] = this.#cache.keys();
    if (oldest !== undefined) this.#cache.delete(oldest);
  }
}

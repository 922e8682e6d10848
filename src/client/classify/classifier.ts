import type { Clock } from '../../model/clock.ts';
import { CatalogWatch } from './catalog-watch.ts';
import type { CatalogSource } from './catalog-watch.ts';
import { NOTHING_KNOWN } from './core/catalog-names.ts';
import { analyze, applyHint } from './core/classify.ts';
import type { Analysis, Classification } from './core/classify.ts';
import { judgeTree } from './core/judge-tree.ts';
import { TextCache } from './core/text-cache.ts';
import { Grammar } from './grammar.ts';

/** Two generations of at most 8 MB each. */
const CACHE_LIMITS = { texts: 5000, characters: 4_000_000 };

/** What a follower refused stays known far longer than what was merely seen. */
const TAUGHT_LIMITS = { texts: 1000, characters: 1_000_000 };

const REFUSED: Classification = {
  kind: 'write',
  form: 'other',
  reason: 'a follower refused it',
  isSingle: true,
  mayUseFollower: false,
};

/**
 * Classifications by statement text, in bounded memory. A text that is known costs one look into a map. A new
 * one is judged by the lexer; where that is in doubt it goes to the leader, and PostgreSQL's grammar corrects
 * the verdict in the background. What a follower refused is remembered as the leader's.
 */
export class Classifier {
  readonly #cache = new TextCache<Classification>(CACHE_LIMITS);
  readonly #taught = new TextCache<Classification>(TAUGHT_LIMITS);
  readonly #grammar: Grammar;
  readonly #catalog: CatalogWatch | null;

  /** Without a `catalog`, functions that are not built in are unknown. */
  constructor(clock: Clock, catalog: CatalogSource | null = null, grammar: Grammar = new Grammar(clock)) {
    this.#grammar = grammar;
    this.#catalog = catalog === null ? null : new CatalogWatch(catalog, clock, () => this.#cache.clear());
  }

  classify(sql: string): Classification {
    return this.#cache.get(sql) ?? this.#classifyNew(sql);
  }

  /** From now on this text goes to the leader. */
  teachLeader(sql: string): void {
    this.#taught.set(sql, REFUSED);
    this.#cache.set(sql, REFUSED);
  }

  /** Ends all work in the background. */
  close(): void {
    this.#grammar.close();
    this.#catalog?.close();
  }

  #classifyNew(sql: string): Classification {
    const taught = this.#taught.get(sql);
    const analysis = taught === undefined ? analyze(sql, this.#catalog?.names ?? NOTHING_KNOWN) : null;
    const classification = taught ?? analysis?.classification ?? REFUSED;
    if (analysis?.changesCatalog === true) {
      // It is not kept, so that it is noticed each time.
      this.#catalog?.expectChange();
      return classification;
    }
    this.#catalog?.start();
    if (analysis?.isDoubtful === true && !this.#askGrammar(sql, analysis)) return classification;
    this.#cache.set(sql, classification);
    return classification;
  }

  #askGrammar(sql: string, { hint }: Analysis): boolean {
    return this.#grammar.offer(sql, (tree) => {
      if (this.#taught.get(sql) !== undefined) return;
      const verdict = judgeTree(tree, this.#catalog?.names ?? NOTHING_KNOWN);
      this.#cache.set(sql, applyHint(verdict, hint, true));
    });
  }
}

import { EVERY_SHARE, mayBeEveryRow } from './danger.ts';
import type { LoggedTransaction } from './transactions.ts';

/** A table to be counted, as far as it matters. */
export interface CountWanted {
  /** `database/file` of the table. */
  readonly file: string;
  /** With so many rows nothing in the log comes near to every one of them. */
  readonly limit: number;
}

/** Log that came while the rows were counted may bring more than was foreseen. */
const SPARE_ROWS = 1_000;

/**
 * Adds up how many rows each table has won and lost in the log, so that a count of now tells of any moment before.
 * Transactions are to be added in the order of their commits.
 */
export class RowGrowth {
  readonly #totals = new Map<string, number>();
  readonly #before = new WeakMap<LoggedTransaction, ReadonlyMap<string, number>>();

  add(transaction: LoggedTransaction): void {
    const before = new Map<string, number>();
    for (const { file, inserted, deleted } of transaction.files) {
      const total = this.#totals.get(file) ?? 0;
      before.set(file, total);
      this.#totals.set(file, total + inserted - deleted);
    }
    this.#before.set(transaction, before);
  }

  /** How many rows more there are at the end of the log than there were before a transaction that wrote the table. */
  since(transaction: LoggedTransaction, file: string): number {
    return (this.#totals.get(file) ?? 0) - (this.#before.get(transaction)?.get(file) ?? 0);
  }

  /** The tables of which some transaction may have written every row. */
  wanted(transactions: readonly LoggedTransaction[]): readonly CountWanted[] {
    const limits = new Map<string, number>();
    for (const transaction of transactions) {
      for (const counts of transaction.files) {
        if (!mayBeEveryRow(counts)) continue;
        const { file, updated, deleted } = counts;
        const most = Math.max(updated, deleted) / EVERY_SHARE + this.since(transaction, file);
        limits.set(file, Math.max(limits.get(file) ?? 0, Math.ceil(Math.max(0, most)) + SPARE_ROWS));
      }
    }
    return [...limits].map(([file, limit]) => ({ file, limit }));
  }
}

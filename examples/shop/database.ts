import type { QueryResult, QueryResultRow } from 'pg';
import type { Durability } from '../../src/model/durability.ts';

/** One statement, as pg takes it, and what its commit waits for. */
export interface Statement {
  readonly text: string;
  readonly values?: unknown[];
  readonly durability?: Durability;
}

/** Whatever answers SQL: the pool, a session, or a transaction. */
export interface Queryable {
  query<Row extends QueryResultRow>(statement: Statement): Promise<QueryResult<Row>>;
}

/** Reads its own writes: every answer is at least as new as what this session wrote or saw before. */
export interface ShopSession extends Queryable {
  transaction<T>(
    work: (tx: Queryable) => Promise<T>,
    options?: { readonly durability?: Durability },
  ): Promise<T>;
  /** What the session has seen, for the next request of the same visitor; null before anything was. */
  readonly token: string | null;
}

/** The part of the Lockstep client that the shop stands on. */
export interface ShopDatabase extends Queryable {
  session(options?: { readonly token?: string | undefined }): ShopSession;
  transaction<T>(
    work: (tx: Queryable) => Promise<T>,
    options?: { readonly durability?: Durability },
  ): Promise<T>;
  stats(): { readonly readsByNode: Readonly<Record<string, number>> };
  end(): Promise<void>;
}

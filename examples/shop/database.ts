import { createHash } from 'node:crypto';
import type { QueryResult, QueryResultRow } from 'pg';
import type { ClientTopology, Log } from '../../src/index.ts';
import type { Durability } from '../../src/model/durability.ts';

/** One statement, as pg takes it, and what its commit waits for. */
export interface Statement {
  /** Prepared once per connection under this name. */
  readonly name?: string;
  readonly text: string;
  readonly values?: unknown[];
  readonly durability?: Durability;
}

/** Whatever answers SQL: the pool, a session, or a transaction. */
export interface Queryable {
  query<Row extends QueryResultRow>(statement: Statement): Promise<QueryResult<Row>>;
}

/** What one visitor's requests write through, and read back: the pool, or a session of the visitor's. */
export interface ShopWriter extends Queryable {
  transaction<T>(
    work: (tx: Queryable) => Promise<T>,
    options?: { readonly durability?: Durability },
  ): Promise<T>;
}

/** Reads its own writes: every answer is at least as new as what this session wrote or saw before. */
export interface ShopSession extends ShopWriter {
  /** What the session has seen, for the next request of the same visitor; null before anything was. */
  readonly token: string | null;
}

/** The part of the Lockstep client that the shop stands on. */
export interface ShopDatabase extends ShopWriter {
  session(options?: { readonly token?: string | undefined; readonly log?: Log }): ShopSession;
  /** The cluster as last seen. */
  topology(): Promise<ClientTopology>;
  stats(): { readonly readsByNode: Readonly<Record<string, number>> };
  end(): Promise<void>;
}

const NAMES = new Map<string, string>();

/** A statement that each connection plans once: planning costs more than running for most reads of the shop. */
export function prepared(text: string, values: unknown[]): Statement {
  let name = NAMES.get(text);
  if (name === undefined) {
    name = `shop_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
    NAMES.set(text, name);
  }
  return { name, text, values };
}

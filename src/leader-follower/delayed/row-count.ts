import type pg from 'pg';
import { parseLsn } from '../../model/lsn.ts';
import { readOnlyTables } from '../../wire/only-tables.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { CatalogTable } from './core/danger.ts';
import type { CountWanted, RowGrowth } from './core/row-growth.ts';
import type { LoggedTransaction } from './core/transactions.ts';
import type { OpenDatabase } from './log-reading.ts';

/** A table that is locked, or takes too long, is estimated. */
const LOCK_TIMEOUT_MS = 500;
const COUNT_TIMEOUT_MS = 10_000;
/** Locked or cancelled; gone since the catalog was read, or a view by now. Source: PostgreSQL documentation, "PostgreSQL Error Codes". */
const TAKES_TOO_LONG: readonly string[] = ['55P03', '57014', '42P01', '55000'];

export interface CountedTables {
  /** By `database/file`: how many rows, and at most the limit. Without those that could not be counted. */
  readonly rows: ReadonlyMap<string, number>;
  /** Where the server's log was after the last count. */
  readonly lsn: Lsn;
}

/**
 * Counts rows on a server, no further than it matters. The statistics that PostgreSQL keeps would not do: a load that is
 * reported after an ANALYZE counts twice, and after a crash or on a new leader nothing is known. Rejects when a database cannot be reached.
 */
export async function countTables(
  open: OpenDatabase,
  tables: readonly CatalogTable[],
  wanted: readonly CountWanted[],
): Promise<CountedTables> {
  const limits = new Map(wanted.map(({ file, limit }) => [file, limit]));
  const rows = new Map<string, number>();
  let lsn = 0n as Lsn;
  const chosen = tables.filter((table) => table.isTable && limits.has(fileOf(table)));
  for (const [database, inside] of Map.groupBy(chosen, (table) => table.database)) {
    const client = await open(database);
    try {
      await readOnlyTables(client);
      await client.query(
        `SET lock_timeout = ${LOCK_TIMEOUT_MS}; SET statement_timeout = ${COUNT_TIMEOUT_MS}`,
      );
      for (const table of inside) {
        const file = fileOf(table);
        const counted = await countRows(client, table, limits.get(file) ?? 0);
        if (counted !== null) rows.set(file, counted);
      }
      lsn = await positionOf(client);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
  return { rows, lsn };
}

/** What was counted, on the leader and on the delayed node, told of any moment before. */
export class RowCount {
  readonly #limits: ReadonlyMap<string, number>;
  readonly #onLeader: CountedTables | null;
  readonly #delayed: CountedTables | null;

  constructor(wanted: readonly CountWanted[], onLeader: CountedTables | null, delayed: CountedTables | null) {
    this.#limits = new Map(wanted.map(({ file, limit }) => [file, limit]));
    this.#onLeader = onLeader;
    this.#delayed = delayed;
  }

  /** Up to where the log has to be read to go with the leader's counts. */
  get lsn(): Lsn {
    return this.#onLeader?.lsn ?? (0n as Lsn);
  }

  /** How many rows the table had before the transaction; more than it could write counts as infinite. Null where it was not counted. */
  before(growth: RowGrowth, transaction: LoggedTransaction, file: string): number | null {
    const now = this.#onLeader?.rows.get(file);
    const then = now ?? this.#delayed?.rows.get(file) ?? null;
    if (then === null) return null;
    if (then >= (this.#limits.get(file) ?? 0)) return Number.POSITIVE_INFINITY;
    // The delayed node has not come to the transaction yet.
    return now === undefined ? then : now - growth.since(transaction, file);
  }
}

function fileOf({ databaseOid, fileNode }: CatalogTable): string {
  return `${databaseOid}/${fileNode}`;
}

async function countRows(client: pg.Client, { oid }: CatalogTable, limit: number): Promise<number | null> {
  try {
    const named = await client.query<{ sql: string }>(
      `SELECT format('%I.%I', space.nspname, class.relname) AS sql FROM pg_class AS class
         JOIN pg_namespace AS space ON space.oid = class.relnamespace WHERE class.oid = $1`,
      [oid],
    );
    const sql = named.rows[0]?.sql;
    if (sql === undefined) return null;
    const counted = await client.query<{ count: string }>(
      `SELECT count(*) AS count FROM (SELECT FROM ONLY ${sql} LIMIT ${limit}) AS counted`,
    );
    return Number(counted.rows[0]?.count);
  } catch (error) {
    if (TAKES_TOO_LONG.includes((error as { code?: string }).code ?? '')) return null;
    throw error;
  }
}

async function positionOf(client: pg.Client): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: string }>(
    `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS lsn`,
  );
  return parseLsn(rows[0]?.lsn ?? '0/0');
}

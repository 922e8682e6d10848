import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import type { PostgresBinaries } from '../../postgres/binaries.ts';
import type { LogArchive } from '../../postgres/log/log-archive.ts';
import { readLog } from '../../postgres/copy/waldump.ts';
import type { CatalogTable } from './core/danger.ts';
import { TRANSACTION_RECORDS } from './core/transactions.ts';
import type { TransactionReading } from './core/transactions.ts';

const READ_TIMEOUT_MS = 600_000;

/** The part of the archive that a reading is about. */
export interface LogRange {
  readonly archive: LogArchive;
  /** Of the newest timeline in it. */
  readonly history: TimelineHistory;
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
}

/** A stretch of one timeline. */
interface Piece {
  readonly timeline: Timeline;
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
}

/** Where the log is, by timelines, oldest first. */
export function piecesOf({ history, fromLsn, toLsn }: Omit<LogRange, 'archive'>): readonly Piece[] {
  let from = fromLsn;
  return [...history.ancestors, { timeline: history.timeline, forkedAt: toLsn }].flatMap(
    ({ timeline, forkedAt }) => {
      const end = forkedAt < toLsn ? forkedAt : toLsn;
      const piece = { timeline, fromLsn: from, toLsn: end };
      if (end > from) from = end;
      return piece.fromLsn < end ? [piece] : [];
    },
  );
}

/** Whether {@link readTransactions} can work. */
export function canListLog({ pgWaldump }: PostgresBinaries): boolean {
  return pgWaldump !== null;
}

/**
 * Gives the range's log to `reading`, which may go on with a range that begins where this one ends. Throws CONFIG_INVALID without pg_waldump, POSTGRES_FAILED when the log cannot be read.
 */
export async function readTransactions(options: {
  readonly range: LogRange;
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly reading: TransactionReading;
}): Promise<void> {
  const { range, binaries, account, reading } = options;
  const { pgWaldump } = binaries;
  if (pgWaldump === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The log can be listed only with pg_waldump, which PostgreSQL ${binaries.version} in ${binaries.binDir} does not have: install your system's postgresql-${binaries.major} package, or name a time or position with "rescue open --before".`,
    );
  }
  for (const piece of piecesOf(range)) {
    reading.timeline = piece.timeline;
    const isWhole = await readLog({
      ...piece,
      pgWaldump,
      account,
      folder: range.archive.folder,
      resourceManagers: TRANSACTION_RECORDS,
      timeoutMs: READ_TIMEOUT_MS,
      onLine: (line) => reading.add(line),
    });
    if (!isWhole) {
      throw new LockstepError(
        'POSTGRES_FAILED',
        `pg_waldump could not read the log in ${range.archive.folder}; nothing was changed.`,
        { retryable: true },
      );
    }
  }
}

/** A connection that opens for one database of a server. */
export type OpenDatabase = (database: string) => Promise<pg.Client>;

const TABLES_SQL = `
SELECT class.oid::int8::int AS oid, pg_relation_filenode(class.oid)::int8::int AS file_node,
       (SELECT oid::int8::int FROM pg_database WHERE datname = current_database()) AS database_oid,
       CASE WHEN space.nspname = 'public' THEN quote_ident(class.relname)
            ELSE format('%I.%I', space.nspname, class.relname) END AS name,
       class.relkind IN ('r', 'm', 'p') AS is_table,
       CASE WHEN stat.n_live_tup > 0 THEN stat.n_live_tup WHEN class.reltuples >= 0 THEN class.reltuples END::float8 AS rows
  FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace
  LEFT JOIN pg_stat_all_tables AS stat ON stat.relid = class.oid
 WHERE class.oid >= 16384 AND class.relkind IN ('r', 'm', 'p', 'i', 'I', 'S', 't') AND class.relpersistence <> 't'`;

/** All tables of all databases, with their indexes, sequences and TOAST. Nothing is locked: a table that is being dropped does not hold this up. */
export async function readCatalogs(open: OpenDatabase): Promise<readonly CatalogTable[]> {
  const first = await open('postgres');
  try {
    const { rows } = await first.query<{ datname: string }>(
      'SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname',
    );
    const tables: CatalogTable[] = [];
    for (const { datname } of rows) {
      const client = datname === 'postgres' ? first : await open(datname);
      try {
        const found = await client.query<{
          oid: number;
          file_node: number | null;
          database_oid: number;
          name: string;
          is_table: boolean;
          rows: number | null;
        }>(TABLES_SQL);
        for (const row of found.rows) {
          tables.push({
            database: datname,
            databaseOid: row.database_oid,
            oid: row.oid,
            fileNode: row.file_node ?? 0,
            name: row.name,
            isTable: row.is_table,
            rows: row.rows,
          });
        }
      } finally {
        if (client !== first) await client.end().catch(() => undefined);
      }
    }
    return tables;
  } finally {
    await first.end().catch(() => undefined);
  }
}

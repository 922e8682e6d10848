import { MANY_ROWS } from './transactions.ts';
import type { FileCounts, LoggedTransaction } from './transactions.ts';

/** A table of a database, as one server's catalog has it. */
export interface CatalogTable {
  readonly database: string;
  readonly databaseOid: number;
  readonly oid: number;
  readonly fileNode: number;
  /** With its schema, quoted where that is needed. */
  readonly name: string;
  /** An index, a sequence or TOAST is none. */
  readonly isTable: boolean;
  /** About how many rows it has, by the server's statistics: twice as many after some loads; null where nobody has counted. */
  readonly rows: number | null;
}

/** How many rows a table had before a transaction: counted, or null where that could not be done. */
export type CountedRows = (transaction: LoggedTransaction, file: string) => number | null;

/** What a person has to be told of a transaction's effect on one table. */
export interface TouchedTable {
  readonly database: string;
  readonly table: string;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

export interface Danger {
  readonly kind: 'drop' | 'truncate' | 'every-row' | 'drop-database';
  /** For people: `drops orders`. */
  readonly text: string;
}

export interface JudgedTransaction {
  readonly xid: number;
  /** ISO time of its commit. */
  readonly at: string;
  readonly lsn: string;
  readonly tables: readonly TouchedTable[];
  readonly dangers: readonly Danger[];
  /** The delayed node shows what it did already: what was before cannot be brought back. */
  readonly isReplayed: boolean;
  /** ISO time at which the delayed node will show it; null when it does already, or while its delay is on hold. */
  readonly replaysAt: string | null;
}

/** What the delayed node has shown, and how far it stays behind: null while that is on hold. */
export interface ReplayState {
  readonly isReplayed: boolean;
  readonly delayMs: number | null;
}

export interface Catalogs {
  /** Of the delayed node, and what was seen on the leader since: what there was before. The newest come last. */
  readonly past: readonly CatalogTable[];
  /** Of the leader; null while it cannot be asked. */
  readonly present: readonly CatalogTable[] | null;
  readonly counted: CountedRows;
}

/** Its own file, unless somebody ran VACUUM FULL on it. Source: PostgreSQL's src/include/catalog/pg_class.h. */
const PG_CLASS = 1259;
/** A load that is reported after an ANALYZE counts twice in the statistics. */
const MOST_OVERCOUNTED = 2;
/** Below this share of a table's rows it is not every one of them. */
export const EVERY_SHARE = 0.9;

/** Names what transactions touched, and says which of them look like a mistake. */
export class DangerJudge {
  readonly #byFile = new Map<string, CatalogTable>();
  readonly #byOid = new Map<string, CatalogTable>();
  readonly #presentByOid: ReadonlyMap<string, CatalogTable> | null;
  readonly #counted: CountedRows;

  constructor({ past, present, counted }: Catalogs) {
    this.#counted = counted;
    for (const table of [...(present ?? []), ...past]) {
      this.#byFile.set(`${table.databaseOid}/${table.fileNode}`, table);
      this.#byOid.set(`${table.databaseOid}/${table.oid}`, table);
    }
    this.#presentByOid =
      present && new Map(present.map((table) => [`${table.databaseOid}/${table.oid}`, table]));
  }

  judge(transaction: LoggedTransaction, { isReplayed, delayMs }: ReplayState): JudgedTransaction {
    const tables = this.#touched(transaction);
    const dangers = [
      ...this.#drops(transaction),
      ...this.#truncations(transaction),
      ...this.#everyRow(transaction),
      ...(transaction.dropsDatabase ? [{ kind: 'drop-database', text: 'drops a database' } as const] : []),
    ];
    const { xid, atMs, lsn } = transaction;
    // As PostgreSQL reckons: from the time in the commit's record on.
    const replaysAt = isReplayed || delayMs === null ? null : new Date(atMs + delayMs).toISOString();
    return { xid, at: new Date(atMs).toISOString(), lsn, tables, dangers, isReplayed, replaysAt };
  }

  #touched({ files }: LoggedTransaction): readonly TouchedTable[] {
    return files.flatMap(({ file, inserted, updated, deleted }) => {
      const table = this.#byFile.get(file);
      if (table?.isTable !== true) return [];
      return [{ database: table.database, table: table.name, inserted, updated, deleted }];
    });
  }

  /** Its file went, and so did the table: one that was only rewritten has a new file. */
  #drops({ removedFiles, truncated, files }: LoggedTransaction): readonly Danger[] {
    const names = removedFiles.flatMap((file) => {
      const table = this.#byFile.get(file);
      if (table?.isTable !== true || truncated.includes(table.oid)) return [];
      const present = this.#presentByOid;
      if (present === null) return [`${table.name} or rewrites it`];
      return present.has(`${table.databaseOid}/${table.oid}`) ? [] : [table.name];
    });
    if (names.length > 0) return [{ kind: 'drop', text: `drops ${names.join(', ')}` }];
    // Made and dropped before anybody saw its name.
    const isUnknown =
      removedFiles.length > 0 && removedFiles.every((file) => this.#byFile.get(file) === undefined);
    const entries = files.find(({ file }) => file.endsWith(`/${PG_CLASS}`));
    if (!isUnknown || truncated.length > 0 || (entries?.deleted ?? 0) === 0) return [];
    return [
      { kind: 'drop', text: `drops or rewrites something that was new (${removedFiles.length} files)` },
    ];
  }

  #truncations({ truncated }: LoggedTransaction): readonly Danger[] {
    if (truncated.length === 0) return [];
    const names = truncated.map(
      (oid) => [...this.#byOid.values()].find((table) => table.oid === oid)?.name ?? `table ${oid}`,
    );
    return [{ kind: 'truncate', text: `truncates ${names.join(', ')}` }];
  }

  #everyRow(transaction: LoggedTransaction): readonly Danger[] {
    return transaction.files.flatMap(({ file, updated, deleted }): Danger[] => {
      const table = this.#byFile.get(file);
      if (table?.isTable !== true || !mayBeEveryRow({ updated, deleted })) return [];
      const verb = updated >= deleted ? 'update' : 'delete';
      const written = Math.max(updated, deleted);
      const all = this.#counted(transaction, file);
      if (all !== null && written < all * EVERY_SHARE) return [];
      if (all === null && !this.#mayBeAll(table, written, deleted)) return [];
      const words = all === null ? `perhaps ${verb}s` : `${verb}s`;
      return [{ kind: 'every-row', text: `${words} every row of ${table.name}` }];
    });
  }

  /** In doubt a person is told. */
  #mayBeAll(table: CatalogTable, written: number, deleted: number): boolean {
    const present = this.#presentByOid?.get(`${table.databaseOid}/${table.oid}`)?.rows ?? null;
    const known = [table.rows, present === null ? null : present + deleted].filter((rows) => rows !== null);
    if (known.length === 0) return written >= MANY_ROWS;
    return written >= (Math.max(...known, 1) / MOST_OVERCOUNTED) * EVERY_SHARE;
  }
}

/** So many rows that a person should see it, though it left others alone. */
export function takesMany({ tables }: Pick<JudgedTransaction, 'tables'>): boolean {
  return tables.reduce((rows, { updated, deleted }) => rows + updated + deleted, 0) >= MANY_ROWS;
}

/** One row alone is an app's daily work, also in a table that has no other. */
export function mayBeEveryRow({ updated, deleted }: Pick<FileCounts, 'updated' | 'deleted'>): boolean {
  return updated + deleted >= 2;
}

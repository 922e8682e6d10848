import { escapeIdentifier, escapeLiteral } from 'pg';
import type pg from 'pg';
import type { Clock } from '../../model/clock.ts';
import { readOnlyTables } from '../../wire/only-tables.ts';
import { countRows } from './core/lost-writes.ts';
import type { LogReading, RowCounts, TouchedTable } from './core/lost-writes.ts';

const MAX_ROWS = 100_000;
const BLOCKS_AT_ONCE = 200;
/** More do not fit into a page of 8 kB. */
const ROWS_PER_BLOCK = 291;

interface LostRow {
  readonly table: string;
  readonly xid: number;
  /** JSON as PostgreSQL wrote it: JavaScript's numbers would not hold every value. */
  readonly json: string;
}

interface LostTable extends Readonly<RowCounts> {
  readonly table: string;
}

type WithClient = <T>(task: (client: pg.Client) => Promise<T>, database?: string) => Promise<T>;

/**
 * The rows that the lost transactions wrote, as the local PostgreSQL still shows them: a follower of nobody,
 * at the end of its log. A row that a later one of them changed again comes once, as it was last.
 */
export async function readLostRows(options: {
  readonly log: LogReading;
  readonly withClient: WithClient;
  readonly clock: Clock;
  readonly timeoutMs: number;
}): Promise<{
  readonly tables: readonly LostTable[];
  readonly rows: readonly LostRow[];
  readonly isCutOff: boolean;
}> {
  const deadlineMs = options.clock.nowMs() + options.timeoutMs;
  const xids = options.log.transactions.flatMap(({ xid, subxids }) => [xid, ...subxids]);
  const rows: LostRow[] = [];
  const tables: LostTable[] = [];
  let isCutOff = false;
  const byDatabase = Map.groupBy(options.log.tables.values(), ({ databaseOid }) => databaseOid);
  try {
    const names = await options.withClient((client) =>
      client.query<{ oid: number; datname: string }>(
        'SELECT oid::int8::int AS oid, datname FROM pg_database',
      ),
    );
    for (const { oid, datname } of names.rows) {
      const touched = byDatabase.get(oid);
      if (touched === undefined) continue;
      await options.withClient(async (client) => {
        await readOnlyTables(client);
        for (const table of touched) {
          isCutOff =
            !(await readTable({
              client,
              database: datname,
              table,
              xids,
              rows,
              tables,
              clock: options.clock,
              deadlineMs,
            })) || isCutOff;
        }
      }, datname);
    }
  } catch {
    // Whatever could be read until then is better than nothing; the log itself is saved whole.
    isCutOff = true;
  }
  return { tables, rows, isCutOff };
}

/** False when the time or the number of rows did not suffice. */
async function readTable(options: {
  readonly client: pg.Client;
  readonly database: string;
  readonly table: TouchedTable;
  readonly xids: readonly number[];
  readonly rows: LostRow[];
  readonly tables: LostTable[];
  readonly clock: Clock;
  readonly deadlineMs: number;
}): Promise<boolean> {
  const { client, table, rows, deadlineMs } = options;
  // In any tablespace: file nodes of one database differ from each other.
  const found = await client.query<{ name: string; oid: string }>(
    `SELECT format('%I.%I', nspname, relname) AS name, pg_class.oid::text AS oid FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
      WHERE pg_relation_filenode(pg_class.oid) = $1 AND relkind IN ('r', 'm') AND pg_class.oid >= 16384
        AND nspname NOT IN ('pg_catalog', 'pg_toast')`,
    [table.fileNode],
  );
  const name = found.rows[0]?.name;
  // A catalog, or TOAST, whose values come with their rows.
  if (name === undefined) return true;
  const label = `${options.database}.${name}`;
  const counts = countRows(table, options.xids);
  // Only transactions that were rolled back wrote here.
  if (counts.inserted + counts.updated + counts.deleted === 0) return true;
  options.tables.push({ table: label, ...counts });
  const json = await jsonOfRow(client, found.rows[0]?.oid ?? '');
  const blocks = [...table.blocks];
  for (let start = 0; start < blocks.length; start += BLOCKS_AT_ONCE) {
    const leftMs = Math.floor(deadlineMs - options.clock.nowMs());
    if (leftMs <= 0 || rows.length >= MAX_ROWS) return false;
    await client.query(`SET statement_timeout = ${leftMs}`);
    const { rows: seen } = await client.query<{ xid: string; json: string }>(
      `SELECT lost.xmin::text AS xid, ${json} AS json FROM ONLY ${name} AS lost
        WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)', block, line)::tid
                                  FROM unnest($1::bigint[]) AS block, generate_series(1, ${ROWS_PER_BLOCK}) AS line))
          AND lost.xmin::text = ANY ($2::text[])`,
      [blocks.slice(start, start + BLOCKS_AT_ONCE), options.xids.map(String)],
    );
    for (const { xid, json } of seen) rows.push({ table: label, xid: Number(xid), json });
  }
  return true;
}

/** Source: PostgreSQL's src/include/access/transam.h, FirstNormalObjectId. */
const FIRST_APP_OID = 16_384;

/**
 * An expression that writes a row of `lost` as JSON and runs no code of the app's: this is a superuser's session, and
 * `to_jsonb` of a whole row calls casts to JSON that the app has made for its types. Those are written as text.
 */
async function jsonOfRow(client: pg.Client, oid: string): Promise<string> {
  const { rows } = await client.query<{ name: string; is_builtin: boolean }>(
    `WITH RECURSIVE base (number, name, type) AS (
       SELECT attnum, attname, atttypid FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
       UNION ALL
       SELECT number, name, typbasetype FROM base JOIN pg_type ON pg_type.oid = type WHERE typtype = 'd'
     ) SELECT name, bool_or(type < ${FIRST_APP_OID}) AS is_builtin FROM base GROUP BY number, name ORDER BY number`,
    [oid],
  );
  if (rows.length === 0) return `'{}'`;
  const pairs = rows.map(({ name, is_builtin: isBuiltin }) => {
    const value = `lost.${escapeIdentifier(name)}`;
    const shown = isBuiltin ? value : `CASE WHEN num_nulls(${value}) = 0 THEN concat(${value}) END`;
    return `(${escapeLiteral(name)}, to_jsonb(${shown}))`;
  });
  return `(SELECT jsonb_object_agg(pair.name, pair.value)::text FROM (VALUES ${pairs.join(', ')}) AS pair (name, value))`;
}

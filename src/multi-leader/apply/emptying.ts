import type pg from 'pg';
import { clockLackUs } from '../core/patience.ts';
import type { Version } from '../core/version.ts';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { encodeKeyRow, encodeRows, keyOfRecord } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import {
  COMMITTED_US,
  joinRecord,
  microsOf,
  statementsFor,
  timeOf,
  WRITE_TOMBSTONES,
} from '../tables/statements.ts';
import { versionParameters } from '../tables/versions.ts';
import { beginPatiently } from './begin.ts';
import { ClockBehind } from './clock-behind.ts';

const CHUNK = 2_000;

/** The name, among keys, of a tombstone of a whole table. */
export const WHOLE_TABLE = '';

/** A TRUNCATE of another region, in the order of its log. */
export interface Emptying {
  readonly client: pg.Client;
  readonly shape: TableShape;
  readonly region: number;
  readonly version: Version;
}

/**
 * Applies a TRUNCATE: a delete of each row that is not later than it, and a tombstone for the table against those that
 * are yet to come. Throws ClockBehind, and PostgreSQL's errors, with nothing done. Returns how many rows went.
 */
export async function applyEmptying(
  { client, shape, region, version }: Emptying,
  lockTimeoutMs: number,
): Promise<number> {
  await client.query(beginPatiently(lockTimeoutMs));
  try {
    const { rows } = await client.query<{ now: string }>(`SELECT ${microsOf('clock_timestamp()')} AS now`);
    const lackUs = clockLackUs(Number(rows[0]?.now), version.timeUs);
    if (lackUs > 0) throw new ClockBehind(lackUs);
    await client.query(
      WRITE_TOMBSTONES,
      versionParameters([{ table: shape.name, key: WHOLE_TABLE, version }]),
    );
    let removed = 0;
    for (let count = -1; count !== 0; removed += count)
      count = await removeOlder(client, shape, region, version, 'applied');
    // What it belongs to is applied as a whole later on: the position does not move.
    await client.query(`SELECT pg_replication_origin_xact_setup('0/0'::pg_lsn, ${timeOf('$1::bigint')})`, [
      version.timeUs,
    ]);
    await client.query('COMMIT');
    return removed;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/**
 * Removes some of the rows that are older than an emptying of their table. `applied`: as it is applied, in the order of
 * its region's log, when what is settled is older, and what its own transaction wrote before it too. `forgotten`: before
 * its tombstone is forgotten, when that transaction may have written rows after it, and a settled row's version may be
 * later. Returns how many went; 0 when none is left.
 */
export async function removeOlder(
  client: pg.Client,
  shape: TableShape,
  region: number,
  version: Version,
  when: 'applied' | 'forgotten',
): Promise<number> {
  const columns = shape.key.map((position) => `t.${quoteIdentifier(shape.columns[position]?.name ?? '')}`);
  // Of each key column its length and bytes, as keys are written; a record has 4 bytes before, and 4 before each column.
  const key = columns.map((column) => `substring(record_send(ROW(${column})) FROM 9)`).join(' || ');
  const isApplied = `coalesce((pg_xact_commit_timestamp_origin(t.xmin)).roident, 0) <> 0`;
  const noted =
    when === 'applied'
      ? `r.time_us IS NULL OR (r.time_us, r.region) <= ($2, $3)`
      : `(r.time_us, r.region) < ($2, $3)`;
  const written =
    when === 'applied' ? `(${COMMITTED_US}, $4::int) <= ($2, $3)` : `(${COMMITTED_US}, $4::int) < ($2, $3)`;
  const { rows } = await client.query<{ key: Buffer }>(
    `SELECT record_send(ROW(${columns.join(', ')})) AS key FROM ${quoteShape(shape)} t
     ${joinRecord('$1::text', key)}
     WHERE coalesce(${COMMITTED_US} < $2::bigint, true)
       OR CASE WHEN ${isApplied} THEN ${noted} ELSE ${written} END
     LIMIT ${CHUNK} FOR UPDATE OF t`,
    [shape.name, version.timeUs, version.region, region],
  );
  if (rows.length === 0) return 0;
  const keys = rows.map((row) => encodeKeyRow(shape, keyOfRecord(row.key)));
  // What a trigger of the app's own keeps is not looked for again.
  const { rowCount } = await client.query(statementsFor(shape).removeDecided, [encodeRows(shape, keys)]);
  return rowCount ?? 0;
}

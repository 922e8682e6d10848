import type pg from 'pg';
import { BatchNotes } from '../core/batch-record.ts';
import { supersedes } from '../core/version.ts';
import { versionOf } from '../core/row-rule.ts';
import { READ_TOMBSTONES, timeOf, WRITE_RECORDS } from '../tables/statements.ts';
import { encodeKeys } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { versionFrom, versionParameters } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';
import { lockRow } from './careful-table.ts';
import { Parking } from './parking.ts';

/**
 * Looks at each row that is aside, the latest first: back in its table where its unique values are free, or held by older
 * rows, also when they were freed by an ordinary write here; forgotten where its key was written or deleted since. In a
 * transaction of the caller's, which must not overlap with a batch's.
 */
export async function bringBackParked(
  client: pg.Client,
  shape: TableShape,
  region: number,
  passOwnLog: () => Promise<void>,
): Promise<void> {
  const parking = new Parking(client, region);
  const parked = await parking.list(shape);
  if (parked.length === 0) return;
  const notes = new BatchNotes(0);
  await passOwnLog();
  const { rows } = await client.query<VersionRow & { n: number }>(READ_TOMBSTONES, [
    shape.name,
    encodeKeys(parked.map(({ key }) => key)),
    false,
  ]);
  const tombstones = new Map(rows.map((row) => [row.n, versionFrom(row)]));
  for (const [index, candidate] of parked.entries()) {
    const tombstone = tombstones.get(index + 1) ?? null;
    const row = await lockRow(client, shape, candidate.key);
    const isOver =
      (tombstone !== null && !supersedes(candidate.version, tombstone)) ||
      (row !== null && !supersedes(candidate.version, versionOf(row, region)));
    if (isOver) await parking.forget(shape, candidate.key);
    else if (await parking.place(shape, candidate))
      notes.put({ table: shape.name, key: candidate.key }, candidate.version);
  }
  if (notes.records.length === 0) return;
  // The transaction has no commit time of its own: none of its rows may look older than it is.
  const { rows: now } = await client.query<{ now: string }>(
    `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now`,
  );
  const timeUs = Math.max(Number(now[0]?.now), notes.commitTimeUs);
  await client.query(WRITE_RECORDS, [...versionParameters(notes.records), timeUs]);
  await client.query(`SELECT pg_replication_origin_xact_setup('0/0'::pg_lsn, ${timeOf('$1::bigint')})`, [
    timeUs,
  ]);
}

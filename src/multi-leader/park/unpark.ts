import type pg from 'pg';
import { BatchNotes } from '../core/batch-record.ts';
import { judgeAside } from '../core/park-rule.ts';
import type { Version } from '../core/version.ts';
import { microsOf, READ_TOMBSTONES, statementsFor, timeOf, WRITE_RECORDS } from '../tables/statements.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { versionFrom, versionParameters } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';
import { lockRow } from './careful-table.ts';
import { Parking } from './parking.ts';
import type { Candidate } from './parking.ts';

/** The region that looks at what is aside. */
export interface Returning {
  /** In a session of an origin. */
  readonly client: pg.Client;
  readonly shape: TableShape;
  readonly region: number;
  readonly passOwnLog: () => Promise<void>;
}

/**
 * Looks at each row that is aside, the latest first: back in its table where its unique values are free, or held by older
 * rows, also when they were freed by an ordinary write here; forgotten where its key was written or deleted since. In
 * transactions of its own, which must not overlap with a batch's: what judges rows afterwards must see their commit time.
 */
export async function bringBackParked(returning: Returning): Promise<void> {
  const { client, shape, region } = returning;
  let page: readonly Candidate[] = [];
  do {
    await client.query('BEGIN');
    try {
      const parking = new Parking(client, region);
      page = await parking.list(shape, page.at(-1) ?? null);
      await bringBack(returning, parking, page);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  } while (page.length > 0);
}

async function bringBack(
  { client, shape, region, passOwnLog }: Returning,
  parking: Parking,
  parked: readonly Candidate[],
): Promise<void> {
  const tombstones = await readTombstones(client, shape, parked);
  const placed: Candidate[] = [];
  for (const candidate of parked) {
    const row = await lockRow(client, shape, candidate.key);
    if (judgeAside(candidate.version, row, tombstones.get(candidate) ?? null, region) === 'forget')
      await parking.forget(shape, candidate.key);
    else if (await parking.place(shape, candidate)) placed.push(candidate);
  }
  if (placed.length === 0) return;
  // As for a batch's inserts: a delete that was made here while this looked has left its tombstone now.
  await passOwnLog();
  const later = await readTombstones(client, shape, placed);
  const notes = new BatchNotes(0);
  const deleted: Buffer[] = [];
  for (const candidate of placed) {
    const { key, version } = candidate;
    if (judgeAside(version, null, later.get(candidate) ?? null, region) === 'forget')
      deleted.push(encodeKeyRow(shape, key));
    else notes.put({ table: shape.name, key }, version);
  }
  if (deleted.length > 0)
    await client.query(statementsFor(shape).removeDecided, [encodeRows(shape, deleted)]);
  await note(client, notes);
}

async function readTombstones(
  client: pg.Client,
  shape: TableShape,
  candidates: readonly Candidate[],
): Promise<ReadonlyMap<Candidate, Version>> {
  const { rows } = await client.query<VersionRow & { n: number }>(READ_TOMBSTONES, [
    shape.name,
    encodeKeys(candidates.map(({ key }) => key)),
    false,
  ]);
  const found = new Map<Candidate, Version>();
  for (const row of rows) {
    const candidate = candidates[row.n - 1];
    const version = versionFrom(row);
    if (candidate !== undefined && version !== null) found.set(candidate, version);
  }
  return found;
}

/** The transaction has no commit time of its own: none of its rows may look older than it is. */
async function note(client: pg.Client, notes: BatchNotes): Promise<void> {
  const { rows } = await client.query<{ now: string }>(`SELECT ${microsOf('clock_timestamp()')} AS now`);
  const timeUs = Math.max(Number(rows[0]?.now), notes.commitTimeUs);
  if (notes.records.length > 0)
    await client.query(WRITE_RECORDS, [...versionParameters(notes.records), timeUs]);
  await client.query(`SELECT pg_replication_origin_xact_setup('0/0'::pg_lsn, ${timeOf('$1::bigint')})`, [
    timeUs,
  ]);
}

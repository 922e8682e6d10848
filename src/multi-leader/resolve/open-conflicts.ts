import type pg from 'pg';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { parseRecord } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { findConflicts } from '../core/merge.ts';
import type { Operation } from '../core/merge.ts';
import { refereeOf } from '../core/referee-rule.ts';
import { fromImage } from '../merge/journal-store.ts';
import type { FoldedRow } from '../merge/settler.ts';
import type { TableShape } from '../tables/shape.ts';
import { SCHEMA } from '../tables/statements.ts';

/** A row's operations, settled, with conflicts among them that its resolver has not been asked about yet. */
export interface OpenConflict {
  readonly id: string;
  readonly key: string;
  readonly base: Image | null;
  /** In the order of their versions. */
  readonly operations: readonly Operation[];
}

type WrittenOperation = readonly [number, number, string, string | null, string | null];

interface OpenRow {
  readonly id: string;
  readonly key: Buffer;
  readonly base: string | null;
  readonly operations: readonly WrittenOperation[];
}

/**
 * Notes, within the transaction that folds rows, those with conflicts whose referee this region is: exactly one region
 * asks about a row, and what comes of it is a write like any other.
 */
export async function noteOpenConflicts(
  {
    client,
    shape,
    region,
    present,
  }: {
    readonly client: pg.Client;
    readonly shape: TableShape;
    readonly region: number;
    /** Numbers of the regions that have not left. */
    readonly present: readonly number[];
  },
  rows: readonly FoldedRow[],
): Promise<void> {
  if (!shape.resolves) return;
  for (const { key, base, operations } of rows) {
    if (refereeOf(key, present) !== region) continue;
    const conflicts = findConflicts(base, operations, shape.merge ?? []);
    if (conflicts.length === 0) continue;
    const written = operations.map(({ version, old, row }): WrittenOperation => [
      version.timeUs,
      version.region,
      formatLsn(version.lsn as Lsn),
      fromImage(old),
      fromImage(row),
    ]);
    await client.query(
      `INSERT INTO ${SCHEMA}.open_conflicts (table_name, key, base, operations) VALUES ($1, $2, $3, $4)`,
      [shape.name, Buffer.from(key, 'latin1'), fromImage(base), JSON.stringify(written)],
    );
  }
}

/** Of one table, the first ones. */
export async function readOpenConflicts(
  client: pg.Client,
  shape: TableShape,
  limit: number,
): Promise<OpenConflict[]> {
  const { rows } = await client.query<OpenRow>(
    `SELECT id, key, base, operations FROM ${SCHEMA}.open_conflicts WHERE table_name = $1 ORDER BY id LIMIT $2`,
    [shape.name, limit],
  );
  const image = (text: string | null): Image | null => (text === null ? null : parseRecord(text));
  return rows.map(({ id, key, base, operations }) => ({
    id,
    key: key.toString('latin1'),
    base: image(base),
    operations: operations.map(([timeUs, region, lsn, old, row]) => ({
      version: { timeUs, region, lsn: parseLsn(lsn) },
      old: image(old),
      row: image(row),
    })),
  }));
}

export async function forgetOpenConflict(client: pg.Client, { id }: OpenConflict): Promise<void> {
  await client.query(`DELETE FROM ${SCHEMA}.open_conflicts WHERE id = $1`, [id]);
}

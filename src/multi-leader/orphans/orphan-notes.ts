import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import type { IncomingChange } from '../apply/incoming.ts';
import { fromImage, textImages } from '../merge/journal-store.ts';
import { numberedRows } from '../tables/numbered-rows.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import type { Reference } from '../tables/references.ts';
import { SCHEMA } from '../tables/statements.ts';
import { versionParameters } from '../tables/versions.ts';

type Shapes = ReadonlyMap<string, TableShape>;

/**
 * Notes, within a batch's transaction, which of the rows that it wrote have no parent, so that they are judged later on.
 * Parents are locked as a foreign key locks them: nobody deletes one here before the batch is to be seen. A parent that
 * was deleted elsewhere since this region deleted it is the other region's affair.
 */
export async function noteOrphans(
  client: pg.Client,
  shapes: Shapes,
  changes: readonly IncomingChange[],
): Promise<void> {
  for (const shape of shapes.values()) {
    if (shape.parentOf === 'none' && shape.references.length === 0) continue;
    const some = changes.filter(({ table }) => table === shape.name);
    if (some.length === 0) continue;
    if (shape.parentOf !== 'none') await forgetRemoved(client, some);
    const keys = [...new Set(some.filter(({ kind }) => kind === 'put').map(({ key }) => key))].toSorted();
    if (keys.length === 0) continue;
    for (const reference of shape.references) await noteWithout(client, shapes, shape, reference, keys);
  }
}

async function forgetRemoved(client: pg.Client, changes: readonly IncomingChange[]): Promise<void> {
  const deletes = changes.filter(({ kind }) => kind === 'delete');
  if (deletes.length === 0) return;
  await client.query(
    `DELETE FROM ${SCHEMA}.removed_parents r
     USING unnest($1::text[], $2::bytea[], $3::bigint[], $4::smallint[], $5::pg_lsn[]) AS u(table_name, key, time_us, region, lsn)
     WHERE (r.table_name, r.key) = (u.table_name, u.key) AND (r.time_us, r.region, r.lsn) < (u.time_us, u.region, u.lsn)`,
    versionParameters(deletes),
  );
}

async function noteWithout(
  client: pg.Client,
  shapes: Shapes,
  shape: TableShape,
  reference: Reference,
  keys: readonly string[],
): Promise<void> {
  const parent = shapes.get(reference.parent);
  if (parent === undefined) return;
  const rows = encodeRows(
    shape,
    keys.map((key) => encodeKeyRow(shape, key)),
  );
  const column = `t.${quoteIdentifier(reference.column)}`;
  const from = `FROM ${quoteShape(shape)} t JOIN ${numberedRows(shape)}`;
  const { rows: referring } = await client.query<{ n: number }>(
    `SELECT u.n::int ${from} WHERE ${column} IS NOT NULL`,
    [rows],
  );
  const { rows: held } = await client.query<{ n: number }>(
    `SELECT u.n::int ${from} JOIN ${quoteShape(parent)} p ON p.${quoteIdentifier(reference.parentKey)} = ${column}
     FOR KEY SHARE OF p`,
    [rows],
  );
  const hasParent = new Set(held.map(({ n }) => n));
  const orphans = referring.filter(({ n }) => !hasParent.has(n)).map(({ n }) => keys[n - 1] ?? '');
  if (orphans.length === 0) return;
  await client.query(
    `INSERT INTO ${SCHEMA}.orphans AS o (table_name, column_name, key) SELECT $1, $2, unnest($3::bytea[])
     ON CONFLICT (table_name, column_name, key) DO UPDATE SET times_noted = o.times_noted + 1`,
    [shape.name, reference.column, encodeKeys(orphans.toSorted())],
  );
}

/** Of what this region deleted itself: keeps which rows were parents, with what they held where they may come back. */
export async function keepRemoved(
  client: pg.Client,
  shapes: Shapes,
  deletes: readonly IncomingChange[],
): Promise<void> {
  const byTable = new Map<string, Map<string, IncomingChange>>();
  for (const change of deletes) {
    const some = byTable.get(change.table) ?? new Map<string, IncomingChange>();
    byTable.set(change.table, some.set(change.key, change));
  }
  for (const [table, changes] of byTable) {
    const shape = shapes.get(table);
    if (shape === undefined) continue;
    const sorted = [...changes.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const whole = sorted.filter(({ old }) => old !== null);
    const images = await textImages(
      client,
      shape,
      encodeRows(
        shape,
        whole.map(({ old }) => old ?? Buffer.alloc(0)),
      ),
    );
    await client.query(
      `INSERT INTO ${SCHEMA}.removed_parents AS r (table_name, key, time_us, region, lsn, image)
       SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::smallint[], $5::pg_lsn[], $6::text[])
       ON CONFLICT (table_name, key) DO UPDATE SET time_us = excluded.time_us, region = excluded.region,
         lsn = excluded.lsn, image = excluded.image
       WHERE (r.time_us, r.region, r.lsn) < (excluded.time_us, excluded.region, excluded.lsn)`,
      [
        ...versionParameters(sorted),
        sorted.map((change) => fromImage(images[whole.indexOf(change)] ?? null)),
      ],
    );
  }
}

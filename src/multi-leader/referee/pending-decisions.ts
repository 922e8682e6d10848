import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { isSameImage, parseRecord } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { putOnTop, refereeByPriority, refereeOf } from '../core/referee-rule.ts';
import type { Priorities } from '../core/referee-rule.ts';
import { fromImage, namedRow, readImages, writeImage, writtenKey } from '../merge/journal-store.ts';
import type { FoldedRow } from '../merge/settler.ts';
import { tellDecision } from '../own/decisions.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { SCHEMA, statementsFor } from '../tables/statements.ts';

/** The region that decides, of one table. */
export interface Referee {
  readonly client: pg.Client;
  readonly shape: TableShape;
  readonly region: number;
  /** All regions' names, by number. */
  readonly names: readonly string[];
  /** Numbers of those that have not left. */
  readonly present: readonly number[];
}

/**
 * Notes, within the transaction that folds rows, what this region has to decide about them: the rows whose referee it is, where
 * the regions' priority has another row than the last writes.
 */
export async function noteDecisions(
  { client, shape, region, names, present }: Referee,
  rows: readonly FoldedRow[],
): Promise<void> {
  if (shape.priority === null) return;
  const own = rows.filter(({ key }) => refereeOf(key, present) === region);
  if (own.length === 0) return;
  const priorities: Priorities = shape.priority.map(
    (order) => order?.map((name) => names.indexOf(name)) ?? null,
  );
  const { rows: noted } = await client.query<Known & { key: Buffer }>(
    `SELECT key, regions, is_open AS "isOpen", decided FROM ${SCHEMA}.writers WHERE table_name = $1 AND key = ANY ($2::bytea[])`,
    [shape.name, encodeKeys(own.map(({ key }) => key))],
  );
  const known = new Map(noted.map((row) => [row.key.toString('latin1'), row]));
  const carried = await readCarriedOut(client, shape, own);
  for (const { key, base, operations } of own) {
    const last = operations.at(-1)?.version;
    if (last === undefined) continue;
    const { settled, decided, writers } = refereeByPriority(
      startOf(base, known.get(key)),
      operations,
      shape.merge ?? [],
      priorities,
      ({ version, row }) =>
        version.region === region && row !== null && fromImage(row) === carried.get(key)?.image
          ? carried.get(key)?.regions
          : undefined,
    );
    const isOpen = !isSameImage(settled, decided);
    await client.query(
      `INSERT INTO ${SCHEMA}.writers (table_name, key, regions, is_open, decided) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (table_name, key) DO UPDATE SET regions = excluded.regions, is_open = excluded.is_open,
         decided = excluded.decided`,
      [shape.name, Buffer.from(key, 'latin1'), writers, isOpen, isOpen ? fromImage(decided) : null],
    );
    if (!isOpen) continue;
    await client.query(
      `INSERT INTO ${SCHEMA}.pending (table_name, key, settled, decided, time_us, region, lsn, writers)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        shape.name,
        Buffer.from(key, 'latin1'),
        fromImage(settled),
        fromImage(decided),
        last.timeUs,
        last.region,
        formatLsn(last.lsn as Lsn),
        writers,
      ],
    );
  }
}

/** What is known of a row from before. */
interface Known {
  readonly regions: readonly (number | null)[];
  /** Whether what was decided is not in what is folded yet. */
  readonly isOpen: boolean;
  readonly decided: string | null;
}

function startOf(base: Image | null, known: Known | undefined): Parameters<typeof refereeByPriority>[0] {
  if (known === undefined) return { settled: base, decided: base };
  const decided = known.decided === null ? null : parseRecord(known.decided);
  return { settled: base, decided: known.isOpen ? decided : base, writers: known.regions };
}

/** What this region wrote as a referee, by key: whose values they are, so that they keep their rank. */
async function readCarriedOut(
  client: pg.Client,
  shape: TableShape,
  rows: readonly FoldedRow[],
): Promise<ReadonlyMap<string, { readonly image: string; readonly regions: readonly (number | null)[] }>> {
  const { rows: found } = await client.query<{ key: Buffer; image: string; regions: (number | null)[] }>(
    `SELECT key, image, regions FROM ${SCHEMA}.carried_out WHERE table_name = $1 AND key = ANY ($2::bytea[])`,
    [shape.name, encodeKeys(rows.map(({ key }) => key))],
  );
  return new Map(found.map(({ key, image, regions }) => [key.toString('latin1'), { image, regions }]));
}

interface PendingRow {
  readonly id: string;
  readonly table: string;
  readonly key: Buffer;
  readonly settled: string | null;
  readonly decided: string | null;
  readonly timeUs: string;
  readonly region: number;
  readonly writers: readonly (number | null)[];
}

export interface CarryingOut {
  /** In a session without an origin: what was decided is a change like any other, later than those it is about. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  readonly promiseKey: Buffer;
}

/** Writes what was decided, in transactions of its own. */
export async function carryOutDecisions(options: CarryingOut): Promise<void> {
  const { client, shapes } = options;
  const { rows } = await client.query<PendingRow>(
    `SELECT id, table_name AS table, key, settled, decided, time_us AS "timeUs", region, writers
     FROM ${SCHEMA}.pending ORDER BY id LIMIT 500`,
  );
  for (const row of rows) {
    const shape = shapes.get(row.table);
    if (shape === undefined) continue;
    await client.query('BEGIN');
    try {
      await carryOut(options, shape, row);
      await client.query(`DELETE FROM ${SCHEMA}.pending WHERE id = $1`, [row.id]);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
}

async function carryOut(
  { client, region, promiseKey }: CarryingOut,
  shape: TableShape,
  row: PendingRow,
): Promise<void> {
  const key = row.key.toString('latin1');
  const [settled, decided] = [row.settled, row.decided].map((text) =>
    text === null ? null : parseRecord(text),
  );
  const keyRows = encodeRows(shape, [encodeKeyRow(shape, key)]);
  // The app's triggers fired for the writes that it is about.
  await client.query('SET LOCAL session_replication_role = replica');
  await client.query(statementsFor(shape).lock, [keyRows]);
  const here = (await readImages(client, shape, keyRows)).get(1) ?? null;
  const wanted = putOnTop(here, settled ?? null, decided ?? null);
  if (isSameImage(wanted, here)) return;
  // Somebody made the row meanwhile: the next turn sees it.
  if (!(await writeImage(client, shape, keyRows, { here, wanted })))
    throw new Error(`a row of ${shape.name} came back`);
  if (wanted !== null) {
    await client.query(
      `INSERT INTO ${SCHEMA}.carried_out (table_name, key, image, regions) VALUES ($1, $2, $3, $4)
       ON CONFLICT (table_name, key) DO UPDATE SET image = excluded.image, regions = excluded.regions`,
      [shape.name, row.key, fromImage(wanted), row.writers],
    );
  }
  const image: Image = decided ?? settled ?? [];
  await tellDecision(
    client,
    {
      table: shape.name,
      key: writtenKey(shape, image),
      kind: 'priority',
      decision: 'region-priority',
      earlier: { timeUs: Number(row.timeUs), region: row.region },
      later: { timeUs: Number(row.timeUs), region, lsn: '0/0' },
      before: here === null ? null : namedRow(shape, here),
      seen: null,
      written: decided == null ? null : namedRow(shape, decided),
      result: wanted === null ? null : namedRow(shape, wanted),
    },
    promiseKey,
  );
}

import type pg from 'pg';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';

/** As many regions as there can be: each takes every so-manieth number. */
export const SEQUENCE_STRIDE = 16;

export interface SequenceRow {
  readonly schema: string;
  readonly name: string;
  /** Whose numbers it gives, as `schema.table.column`: the same in every region. */
  readonly column: string;
  readonly increment: string;
  /** Of which the next one follows; null before the first was given. */
  readonly last: string | null;
  readonly start: string;
}

/** The sequences behind the shared tables' columns. */
export async function readSequences(
  client: pg.Client,
  shapes: readonly TableShape[],
): Promise<readonly SequenceRow[]> {
  const { rows } = await client.query<SequenceRow>(
    `SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS increment, s.seqstart AS start,
            format('%s.%s.%s', tn.nspname, t.relname, a.attname) AS column, pg_sequence_last_value(c.oid) AS last
     FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
     JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
       AND d.refobjid::regclass = ANY ($1::text[]::regclass[])`,
    [shapes.map(quoteShape)],
  );
  return rows;
}

/**
 * Lets the sequences behind the shared tables' columns give numbers that no other region gives: those whose remainder by
 * {@link SEQUENCE_STRIDE} is the region's number.
 */
export async function spreadSequences(
  client: pg.Client,
  shapes: readonly TableShape[],
  region: number,
): Promise<void> {
  for (const sequence of await readSequences(client, shapes)) {
    if (Number(sequence.increment) === SEQUENCE_STRIDE) continue;
    await restartAfter(client, sequence, BigInt(sequence.last ?? sequence.start), region);
  }
}

/** Lets a sequence go on with the region's next number past one that was given already. */
export async function restartAfter(
  client: pg.Client,
  { schema, name }: SequenceRow,
  given: bigint,
  region: number,
): Promise<void> {
  const lowest = given + 1n;
  const stride = BigInt(SEQUENCE_STRIDE);
  const next = lowest + ((BigInt(region) - (lowest % stride) + stride) % stride);
  await client.query(
    `ALTER SEQUENCE ${quoteShape({ schema, table: name })} INCREMENT BY ${SEQUENCE_STRIDE} RESTART WITH ${next}`,
  );
}

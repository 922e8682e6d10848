import type pg from 'pg';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';

/** As many regions as there can be: each takes every so-manieth number. */
export const SEQUENCE_STRIDE = 16;

interface SequenceRow {
  readonly schema: string;
  readonly name: string;
  readonly increment: string;
  /** Of which the next one follows; null before the first was given. */
  readonly last: string | null;
  readonly start: string;
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
  const { rows } = await client.query<SequenceRow>(
    `SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS increment, s.seqstart AS start,
            pg_sequence_last_value(c.oid) AS last
     FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
       AND d.refobjid::regclass = ANY ($1::text[]::regclass[])`,
    [shapes.map(quoteShape)],
  );
  for (const { schema, name, increment, last, start } of rows) {
    if (Number(increment) === SEQUENCE_STRIDE) continue;
    const lowest = BigInt(last ?? start) + 1n;
    const stride = BigInt(SEQUENCE_STRIDE);
    const next = lowest + ((BigInt(region) - (lowest % stride) + stride) % stride);
    await client.query(
      `ALTER SEQUENCE ${quoteShape({ schema, table: name })} INCREMENT BY ${SEQUENCE_STRIDE} RESTART WITH ${next}`,
    );
  }
}

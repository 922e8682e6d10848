import type pg from 'pg';
import { quoteIdentifier, quoteLiteral } from '../../logical/core/quote.ts';
import type { PresentRow } from '../core/row-rule.ts';
import { keyOfRecord } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { COMMITTED_US, joinRecord, SCHEMA } from '../tables/statements.ts';
import { versionFrom } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';

/** A row of the donor, with what its version is told from. */
export interface DonorRow {
  readonly key: string;
  /** As text of the table's row type. */
  readonly image: string;
  readonly present: PresentRow;
}

type FoundRow = VersionRow & {
  readonly key: Buffer;
  readonly image: string;
  readonly committedUs: string | null;
  readonly isApplied: boolean;
};

const PAGE = 500;
const CURSOR = 'lockstep_copy';

/** All rows of a query, some at a time, within the caller's transaction. */
async function* readPages<Row extends pg.QueryResultRow>(
  client: pg.Client,
  query: string,
): AsyncGenerator<readonly Row[]> {
  await client.query(`DECLARE ${CURSOR} NO SCROLL CURSOR FOR ${query}`);
  for (;;) {
    const { rows } = await client.query<Row>(`FETCH ${PAGE} FROM ${CURSOR}`);
    if (rows.length === 0) break;
    yield rows;
  }
  await client.query(`CLOSE ${CURSOR}`);
}

/** A table's rows as the transaction's snapshot has them. */
export async function* readDonorRows(
  client: pg.Client,
  shape: TableShape,
): AsyncGenerator<readonly DonorRow[]> {
  const column = (position: number): string => `t.${quoteIdentifier(shape.columns[position]?.name ?? '')}`;
  const columns = shape.columns.map((_, position) => column(position)).join(', ');
  const key = `record_send(ROW(${shape.key.map(column).join(', ')}))`;
  const noteKey = shape.key
    .map((position) => `substring(record_send(ROW(${column(position)})) FROM 9)`)
    .join(' || ');
  const query = `SELECT ${key} AS key, ROW(${columns})::text AS image,
      ${COMMITTED_US} AS "committedUs",
      coalesce((pg_xact_commit_timestamp_origin(t.xmin)).roident, 0) <> 0 AS "isApplied",
      r.time_us AS "timeUs", r.region, r.lsn::text AS lsn
    FROM ${quoteShape(shape)} t
    ${joinRecord(quoteLiteral(shape.name), noteKey)}`;
  for await (const rows of readPages<FoundRow>(client, query))
    yield rows.map((row) => ({
      key: keyOfRecord(row.key),
      image: row.image,
      present: {
        kind: 'present',
        committedUs: row.committedUs === null ? null : Number(row.committedUs),
        isApplied: row.isApplied,
        record: versionFrom(row),
      },
    }));
}

/** What the region keeps beside the rows, by the names of its columns. */
export async function copyNotes(from: pg.Client, to: pg.Client, table: string): Promise<void> {
  const name = `${SCHEMA}.${table}`;
  for await (const rows of readPages<{ row: string }>(from, `SELECT to_jsonb(t)::text AS row FROM ${name} t`))
    await to.query(
      `INSERT INTO ${name} SELECT (jsonb_populate_record(NULL::${name}, r::jsonb)).* FROM unnest($1::text[]) AS r
       ON CONFLICT DO NOTHING`,
      [rows.map(({ row }) => row)],
    );
}

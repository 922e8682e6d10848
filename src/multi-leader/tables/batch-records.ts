import type pg from 'pg';
import type { BatchRecord } from '../core/batch-record.ts';
import { encodeFixed, encodeKeys } from './row-codec.ts';
import { SCHEMA, WRITE_RECORDS } from './statements.ts';
import type { TableShape } from './shape.ts';
import { sortRecords, versionParameters } from './versions.ts';

const INT8_OID = 20;
const INT2_OID = 21;
const LSN_OID = 3220;
/** So few that a page has room for several, and that a key is soon found among them. */
const TOGETHER = 64;

/** `$1` the table, `$2` to `$5` keys, in their order, with times, regions and positions, `$6` how many; `$7` the batch's time. */
const WRITE = `INSERT INTO ${SCHEMA}.batch_records (table_name, batch_us, keys, times_us, regions, lsns)
  SELECT $1, $7::bigint, ($2::bytea[])[g:g + ${TOGETHER - 1}], ($3::bigint[])[g:g + ${TOGETHER - 1}],
    ($4::smallint[])[g:g + ${TOGETHER - 1}], ($5::pg_lsn[])[g:g + ${TOGETHER - 1}]
  FROM generate_series(1, $6::int, ${TOGETHER}) AS g`;

/** Versions of rows of one table, ready to be noted. */
export interface EncodedRecords {
  readonly shape: TableShape;
  readonly count: number;
  readonly values: readonly unknown[];
}

/**
 * Those of a table with unique values are kept for long and by key. Of all others many stand in one row, found by the time that the batch
 * was stamped with: each in a row of its own would cost as much as what was applied. `records`: in the order of their keys.
 */
export function encodeRecords(shape: TableShape, records: readonly BatchRecord[]): EncodedRecords {
  const count = records.length;
  if (shape.unique.length > 0) return { shape, count, values: versionParameters(records) };
  const at = (index: number): BatchRecord['version'] => (records[index] as BatchRecord).version;
  const values = [
    shape.name,
    encodeKeys(records.map(({ key }) => key)),
    encodeFixed(INT8_OID, 8, count, (array, to, index) =>
      array.writeBigInt64BE(BigInt(at(index).timeUs), to),
    ),
    encodeFixed(INT2_OID, 2, count, (array, to, index) => array.writeInt16BE(at(index).region, to)),
    encodeFixed(LSN_OID, 8, count, (array, to, index) => array.writeBigUInt64BE(at(index).lsn, to)),
    count,
  ];
  return { shape, count, values };
}

/**
 * Notes versions in the transaction that wrote their rows, stamped `stampUs`. `ready` has what a table's are most often, when all that
 * came stands.
 */
export async function writeRecords(
  client: pg.Client,
  shapes: ReadonlyMap<string, TableShape>,
  records: readonly BatchRecord[],
  stampUs: number,
  ready: readonly EncodedRecords[],
): Promise<void> {
  const byTable = Map.groupBy(records, ({ table }) => table);
  const encoded = [...byTable].flatMap(([table, some]) => {
    // Each key once, and none that did not come: as many are all.
    const all = ready.find(({ shape, count }) => shape.name === table && count === some.length);
    const shape = shapes.get(table);
    return all ?? (shape === undefined ? [] : encodeRecords(shape, sortRecords(some)));
  });
  await Promise.all(
    encoded.map(({ shape, values }) =>
      client.query({
        text: shape.unique.length > 0 ? WRITE_RECORDS : WRITE,
        values: [...values, stampUs],
      }),
    ),
  );
}

import type pg from 'pg';
import type { Lsn } from '../../model/lsn.ts';
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

/** `$1` the table, `$2` the batch's time, `$3` to `$6` its keys, in their order, with times, regions and positions; `$7` how many. */
const WRITE = `INSERT INTO ${SCHEMA}.batch_records (table_name, batch_us, keys, times_us, regions, lsns)
  SELECT $1, $2::bigint, ($3::bytea[])[g:g + ${TOGETHER - 1}], ($4::bigint[])[g:g + ${TOGETHER - 1}],
    ($5::smallint[])[g:g + ${TOGETHER - 1}], ($6::pg_lsn[])[g:g + ${TOGETHER - 1}]
  FROM generate_series(1, $7::int, ${TOGETHER}) AS g`;

/**
 * Notes versions in the transaction that wrote their rows, stamped `stampUs`. Those of a table with unique values are kept for
 * long and by key. Of all others many stand in one row, found by the time that the batch was stamped with: each in a row of its own
 * would cost as much as what was applied.
 */
export async function writeRecords(
  client: pg.Client,
  shapes: ReadonlyMap<string, TableShape>,
  records: readonly BatchRecord[],
  stampUs: number,
): Promise<void> {
  const byTable = Map.groupBy(sortRecords(records), ({ table }) => table);
  await Promise.all(
    [...byTable].map(([table, some]) =>
      (shapes.get(table)?.unique.length ?? 0) > 0
        ? client.query(WRITE_RECORDS, [...versionParameters(some), stampUs])
        : client.query({ text: WRITE, values: [table, stampUs, ...encodeTogether(some), some.length] }),
    ),
  );
}

function encodeTogether(records: readonly BatchRecord[]): Buffer[] {
  const { length } = records;
  const at = (index: number): BatchRecord['version'] => (records[index] as BatchRecord).version;
  return [
    encodeKeys(records.map(({ key }) => key)),
    encodeFixed(INT8_OID, 8, length, (array, to, index) =>
      array.writeBigInt64BE(BigInt(at(index).timeUs), to),
    ),
    encodeFixed(INT2_OID, 2, length, (array, to, index) => array.writeInt16BE(at(index).region, to)),
    encodeFixed(LSN_OID, 8, length, (array, to, index) => array.writeBigUInt64BE(at(index).lsn as Lsn, to)),
  ];
}

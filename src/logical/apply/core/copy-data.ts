import { firstField, nextField } from '../../core/tuple.ts';
import type { TablePlan } from './table-plan.ts';

/** Source: PostgreSQL documentation, "COPY", binary format. */
const SIGNATURE: Buffer = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const NULL_LENGTH = -1;

/** Rows for COPY in binary format: a value's length and bytes are framed there as in a change. */
export function toCopyData(
  plan: TablePlan,
  rows: readonly { readonly buffer: Buffer; readonly at: number }[],
): Buffer {
  const isWritten = plan.columns.map((column) => column !== null);
  const count = isWritten.filter(Boolean).length;
  let data = Buffer.allocUnsafe(Math.max(1_024, rows.length * 128));
  let end = SIGNATURE.copy(data);
  const reserve = (bytes: number): void => {
    if (end + bytes <= data.length) return;
    const larger = Buffer.allocUnsafe(Math.max(data.length * 2, end + bytes));
    data.copy(larger, 0, 0, end);
    data = larger;
  };
  for (const { buffer, at } of rows) {
    reserve(2);
    end = data.writeUInt16BE(count, end);
    let field = firstField(at);
    for (let index = 0; index < isWritten.length; index++) {
      const next = nextField(buffer, field);
      if (isWritten[index] === true) {
        // A NULL is its kind alone.
        const length = next - field - 1;
        reserve(Math.max(4, length));
        if (length === 0) end = data.writeInt32BE(NULL_LENGTH, end);
        else end += buffer.copy(data, end, field + 1, next);
      }
      field = next;
    }
  }
  reserve(2);
  end = data.writeInt16BE(-1, end);
  return data.subarray(0, end);
}

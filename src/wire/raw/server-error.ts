import type { Buffer } from 'node:buffer';
import pg from 'pg';

/** Source: PostgreSQL documentation, "Error and Notice Message Fields". */
const FIELDS: Readonly<Record<string, keyof pg.DatabaseError>> = {
  S: 'severity',
  C: 'code',
  D: 'detail',
  H: 'hint',
  P: 'position',
  W: 'where',
  s: 'schema',
  t: 'table',
  c: 'column',
  d: 'dataType',
  n: 'constraint',
};

/** PostgreSQL's own error out of an ErrorResponse, as pg would give it. */
export function parseServerError(buffer: Buffer, start: number, end: number): pg.DatabaseError {
  const values: Record<string, string> = {};
  let message = 'unknown error';
  for (let at = start; at < end && buffer[at] !== 0;) {
    const field = String.fromCharCode(buffer[at] as number);
    const stop = buffer.indexOf(0, at + 1);
    if (stop < 0 || stop >= end) break;
    const text = buffer.toString('utf8', at + 1, stop);
    if (field === 'M') message = text;
    const name = FIELDS[field];
    if (name !== undefined) values[name] = text;
    at = stop + 1;
  }
  return Object.assign(new pg.DatabaseError(message, end - start, 'error'), values);
}

import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';
import { formatArray } from '../core/image.ts';
import type { Image } from '../core/image.ts';

/** What a value's text means. */
export interface ValueColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeName: string;
}

export type ValueRow = Readonly<Record<string, unknown>>;

/** A row as node-postgres gives it, each time a new one: whoever gets it may change it. */
export function valuesOf(image: Image | null, columns: readonly ValueColumn[]): ValueRow | null {
  if (image === null) return null;
  const parserOf: (oid: number, format: 'text') => (text: string) => unknown = pg.types.getTypeParser;
  return Object.fromEntries(
    columns.map(({ name, typeOid }, index) => {
      const text = image[index] ?? null;
      return [name, text === null ? null : parserOf(typeOid, 'text')(text)];
    }),
  );
}

/**
 * A row's texts. A value that is in one of `known` keeps its text there: a Date has fewer digits than a timestamp. Throws
 * TypeError for a value that no column could have.
 */
export function imageOf(row: ValueRow, columns: readonly ValueColumn[], known: readonly Image[]): Image {
  const stranger = Object.keys(row).find((name) => columns.every((column) => column.name !== name));
  if (stranger !== undefined) throw new TypeError(`there is no column ${stranger}`);
  const missing = columns.find(({ name }) => row[name] === undefined);
  if (missing !== undefined) throw new TypeError(`the row that it keeps lacks column ${missing.name}`);
  const values = known.map((image) => valuesOf(image, columns));
  return columns.map(({ name, typeName }, index) => {
    const value = row[name] ?? null;
    const same = values.findIndex((one) => isDeepStrictEqual(one?.[name] ?? null, value));
    return same === -1 ? textOf(value, typeName, name) : (known[same]?.[index] ?? null);
  });
}

function textOf(value: unknown, typeName: string, column: string): string | null {
  if (value === null || value === undefined) return null;
  if (typeName === 'json' || typeName === 'jsonb') return JSON.stringify(value);
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return String(value);
  if (value instanceof Date)
    // Without a zone, node-postgres reads it by this machine's.
    return typeName === 'timestamptz' ? value.toISOString() : localTime(value);
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value))
    return formatArray(value.map((one) => textOf(one, typeName.replace(/^_/, ''), column)));
  throw new TypeError(`what it has for ${column} is no value of type ${typeName}`);
}

function localTime(date: Date): string {
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().replace('Z', '');
}

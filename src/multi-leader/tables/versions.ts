import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { BatchRecord } from '../core/batch-record.ts';
import type { Version } from '../core/version.ts';
import { encodeKeys } from './row-codec.ts';

/** A version as the metadata tables give it; nulls where there is none. */
export interface VersionRow {
  readonly timeUs: string | null;
  readonly region: number | null;
  readonly lsn: string | null;
}

export function versionFrom(row: VersionRow): Version | null {
  if (row.timeUs === null || row.region === null || row.lsn === null) return null;
  return { timeUs: Number(row.timeUs), region: row.region, lsn: parseLsn(row.lsn) };
}

/** In one order, so that two writers cannot block each other. */
export function sortRecords(records: readonly BatchRecord[]): BatchRecord[] {
  return records.toSorted((a, b) => compareText(a.table, b.table) || compareText(a.key, b.key));
}

/** The five parameters that write records and tombstones. */
export function versionParameters(records: readonly BatchRecord[]): unknown[] {
  const sorted = sortRecords(records);
  return [
    sorted.map(({ table }) => table),
    encodeKeys(sorted.map(({ key }) => key)),
    sorted.map(({ version }) => version.timeUs),
    sorted.map(({ version }) => version.region),
    sorted.map(({ version }) => formatLsn(version.lsn as Lsn)),
  ];
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

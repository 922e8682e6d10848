import type { Change } from './change.ts';
import { supersedes } from './version.ts';
import type { Version } from './version.ts';

/** A row of this region as a batch finds it, locked. */
export interface PresentRow {
  readonly kind: 'present';
  /** What the server recorded for the transaction that wrote it; null when it keeps no record any more. */
  readonly committedUs: number | null;
  /** Whether it was applied from another region. */
  readonly isApplied: boolean;
  /** What the batch that applied it noted; null when it is settled. Of a row that was written here it means nothing. */
  readonly record: Version | null;
}

export interface MissingRow {
  readonly kind: 'missing';
  /** Of the row, or of its table when that was emptied later; null when none is kept. */
  readonly tombstone: Version | null;
}

/** What a change does here. */
export type RowDecision =
  | { readonly kind: 'put' }
  | { readonly kind: 'delete' }
  /** A delete of what is not here: nothing to do, but its tombstone is needed. */
  | { readonly kind: 'bury' }
  | { readonly kind: 'keep'; readonly because: 'newer-row' | 'newer-delete' };

/** A row's version: exact for what was written here, noted for what was applied, null when settled. */
export function versionOf(row: PresentRow, ownRegion: number): Version | null {
  if (row.isApplied) return row.record;
  return row.committedUs === null ? null : { timeUs: row.committedUs, region: ownRegion, lsn: 0n };
}

/**
 * The part of the rule that one statement decides for a whole batch, without reading the rows first. The recorded
 * time of an applied row is the highest version of its batch, so that it may be above the row's own version and never
 * below. Null is settled, except for what this very batch has written: that must not come here.
 */
export function isSurelyOlder(committedUs: number | null, incoming: Version): boolean {
  return committedUs === null || committedUs < incoming.timeUs;
}

/** Last write wins, for one row. */
export function decideRow<Row>(
  change: Change<Row>,
  local: PresentRow | MissingRow,
  ownRegion: number,
): RowDecision {
  if (local.kind === 'missing') {
    if (change.kind === 'delete') return { kind: 'bury' };
    return local.tombstone !== null && !supersedes(change.version, local.tombstone)
      ? { kind: 'keep', because: 'newer-delete' }
      : { kind: 'put' };
  }
  return supersedes(change.version, versionOf(local, ownRegion))
    ? { kind: change.kind }
    : { kind: 'keep', because: 'newer-row' };
}

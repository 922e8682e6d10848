import { compareVersions } from './version.ts';
import type { Version } from './version.ts';

/** One row as a region left it: what it holds, or that it is gone. An insert and an update say the same. */
export interface Change<Row> {
  readonly kind: 'put' | 'delete';
  readonly table: string;
  /** The primary key in a form that is equal exactly when the keys are. */
  readonly key: string;
  readonly version: Version;
  /** The whole row; null of a delete. */
  readonly row: Row | null;
}

/** Names one row among all tables. */
export function rowId(change: { readonly table: string; readonly key: string }): string {
  return `${change.table}\u0000${change.key}`;
}

/**
 * Leaves one change a row, the one of the highest version: a statement that finds a key twice would take either, and
 * what a batch has written itself shows no commit time yet. By version and not by arrival, because changes that are
 * handed back keep the version they had. Of equal versions the later one in the stream stands.
 */
export function collapseChanges<Row>(changes: readonly Change<Row>[]): Change<Row>[] {
  const tables = new Map<string, Map<string, Change<Row>>>();
  for (const change of changes) {
    let last = tables.get(change.table);
    if (last === undefined) tables.set(change.table, (last = new Map()));
    const other = last.get(change.key);
    if (other === undefined || compareVersions(change.version, other.version) >= 0)
      last.set(change.key, change);
  }
  return [...tables.values()].flatMap((last) => [...last.values()]);
}

/** The highest commit time among them: what the clock must be past before they may be applied. */
export function highestTimeUs(changes: readonly { readonly version: Version }[]): number {
  return changes.reduce((highest, { version }) => Math.max(highest, version.timeUs), 0);
}

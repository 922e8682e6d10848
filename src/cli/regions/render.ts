import { toPlainText } from '../screen/text-width.ts';
import type { Comparison } from '../../multi-leader/compare.ts';
import type { RegionStatus } from '../../multi-leader/region.ts';

export interface AnsweredRegion {
  readonly name: string;
  /** Null when its process does not answer. */
  readonly status: RegionStatus | null;
}

/** A table of links, with a line below it for each that is not well. */
export function renderRegions(regions: readonly AnsweredRegion[]): string {
  const rows = [['LINK', 'STATE', 'LAG', 'APPLIED', 'LOST TO A LATER WRITE']];
  const notes: string[] = [];
  for (const { name, status } of regions) {
    if (status === null) {
      notes.push(`${name}: its process does not answer; start it with "lockstep regions run ${name}"`);
      continue;
    }
    if (status.problem !== null) notes.push(`${name}: ${status.problem}`);
    for (const link of status.links) {
      const lag = link.lagMs === null ? '-' : `${Math.round(link.lagMs)} ms`;
      rows.push([`${link.from} → ${link.to}`, link.state, lag, String(link.applied), String(link.lost)]);
      if (link.detail !== null) notes.push(`${link.from} → ${link.to}: ${link.detail}`);
    }
  }
  const counts = [['REGION', 'KEPT UNTIL SETTLED', 'ASIDE', 'WITHOUT PARENT', 'CONFLICTS', 'SETTLED UP TO']];
  for (const { name, status } of regions) {
    if (status === null) continue;
    const kept = status.records + status.tombstones + status.operations;
    const settled = status.settledAgoMs === null ? '-' : `${(status.settledAgoMs / 1_000).toFixed(1)} s ago`;
    const { parked, orphans, conflicts } = status;
    counts.push([name, ...[kept, parked, orphans, conflicts].map(String), settled]);
  }
  return [...alignColumns(rows), '', ...alignColumns(counts), ...notes].map(toPlainText).join('\n');
}

export function renderComparison({ isEqual, tables, differences }: Comparison): string {
  const [first] = tables;
  const names = Object.keys(first?.rows ?? {});
  const rows = [['TABLE', ...names.map((name) => name.toUpperCase()), '']];
  for (const table of tables)
    rows.push([
      table.table,
      ...names.map((name) => String(table.rows[name] ?? 0)),
      table.isEqual ? 'equal' : 'DIFFERENT',
    ]);
  const lines = differences.flatMap(({ table, key, rows }) => [
    `${table} ${key.join(', ')}`,
    ...Object.entries(rows).map(([name, row]) => `  ${name}: ${row ?? 'no such row'}`),
  ]);
  return [...alignColumns(rows), ...lines, isEqual ? 'All regions hold the same rows.' : '']
    .map(toPlainText)
    .join('\n')
    .trimEnd();
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

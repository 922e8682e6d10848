import { SCHEMA } from '../../multi-leader/tables/statements.ts';
import { DECISIONS } from '../../admin/world/page/world-words.js';
import { openSession } from '../../multi-leader/sessions.ts';
import { toPlainText } from '../screen/text-width.ts';
import { findRegion, presentRegions, readRegions } from './regions-folder.ts';

/** One entry of the log, as `lockstep regions conflicts --json` has it; rows by column, values as text. */
export interface LoggedConflict {
  readonly table: string;
  readonly key: string;
  /** What each write did, the earlier one first. */
  readonly kind: string;
  readonly decision: keyof typeof DECISIONS;
  /** Why, where the rows do not say it: of one that is parked. */
  readonly reason: string | null;
  readonly earlier: { readonly at: string; readonly region: string } | null;
  readonly later: { readonly at: string; readonly region: string };
  /** The row before the later write, as its writer saw it, as it wrote it, and as it became. */
  readonly before: LoggedRow;
  readonly seen: LoggedRow;
  readonly written: LoggedRow;
  readonly result: LoggedRow;
}

export type LoggedRow = Readonly<Record<string, string | null>> | null;

export interface ConflictsOptions {
  readonly state: string;
  readonly region: string | null;
  readonly table: string | null;
  readonly limit: number;
}

/** The newest conflicts first, from one region's log; all regions have the same ones once they have settled. */
export async function readConflicts(options: ConflictsOptions): Promise<LoggedConflict[]> {
  const config = await readRegions(options.state);
  const place = options.region === null ? presentRegions(config)[0] : findRegion(config, options.region);
  const client = await openSession(place?.url ?? '', 'conflicts');
  try {
    const moment = (column: string): string =>
      `to_char((timestamptz 'epoch' + ${column} * interval '1 microsecond') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
    const { rows } = await client.query<LoggedConflict>(
      `SELECT table_name AS table, key, kind, decision, reason,
         CASE WHEN earlier_us IS NOT NULL THEN json_build_object('at', ${moment('earlier_us')}, 'region', names[earlier_region + 1]) END AS earlier,
         json_build_object('at', ${moment('later_us')}, 'region', names[later_region + 1]) AS later,
         before_row AS before, seen_row AS seen, written_row AS written, result_row AS result
       FROM ${SCHEMA}.conflicts, ${SCHEMA}.regions WHERE $1::text IS NULL OR table_name IN ($1, 'public.' || $1)
       ORDER BY later_us DESC, later_region DESC LIMIT $2`,
      [options.table, options.limit],
    );
    return rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** A paragraph for each conflict: what happened, and the columns that it was about. */
export function renderConflicts(conflicts: readonly LoggedConflict[]): string {
  if (conflicts.length === 0) return 'No conflicts are logged.';
  return conflicts.map(renderConflict).join('\n');
}

function renderConflict({
  table,
  key,
  kind,
  decision,
  reason,
  earlier,
  later,
  before,
  seen,
  written,
  result,
}: LoggedConflict): string {
  const first = earlier === null ? 'an earlier write' : earlier.region;
  const lines = [
    `${later.at}  ${table} ${key}  ${kind}  ${first} and ${later.region}: ${DECISIONS[decision]}`,
  ];
  if (reason !== null) lines.push(`  ${reason}`);
  const names = new Set([before, seen, written, result].flatMap((row) => Object.keys(row ?? {})));
  for (const name of names) {
    const show = (row: LoggedRow): string => (row === null ? '(no row)' : (row[name] ?? 'NULL'));
    if (show(before) === show(seen) && show(seen) === show(written)) continue;
    lines.push(
      `  ${name}: ${later.region} saw ${show(seen)} and wrote ${show(written)}; it was ${show(before)} and is ${show(result)}`,
    );
  }
  // Values are the app's users', and may hold what a terminal obeys.
  return lines.map(toPlainText).join('\n');
}

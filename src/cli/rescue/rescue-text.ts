import { formatDelay } from '../../model/duration.ts';
import { takesMany } from '../../leader-follower/delayed/core/danger.ts';
import type { JudgedTransaction } from '../../leader-follower/delayed/core/danger.ts';
import { MANY_ROWS } from '../../leader-follower/delayed/core/transactions.ts';
import type { LogGap } from '../../leader-follower/delayed/log-arrival.ts';
import type { RescueList } from '../../leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../leader-follower/delayed/rescue.ts';
import type { TableComparison } from '../../leader-follower/rescue/compare.ts';
import { labelOf } from '../../leader-follower/rescue/restore.ts';
import type { RestoredTable, RestorePlan } from '../../leader-follower/rescue/restore.ts';
import type { TableCounts } from '../../leader-follower/rescue/session.ts';
import { toPlainText } from '../screen/text-width.ts';

/** Harmless ones beyond this are only counted. */
const SHOWN_TRANSACTIONS = 40;
const SHOWN_TABLES = 4;

/** The transactions as a table, in which names of tables are the app's: all that look like a mistake or took many rows, and the newest others. */
export function renderList(list: RescueList, nowMs: number): string {
  const { transactions, node } = list;
  const harmless = transactions.filter(
    (transaction) => transaction.dangers.length === 0 && !takesMany(transaction),
  );
  const left = new Set(harmless.slice(0, -SHOWN_TRANSACTIONS));
  const lines = transactions
    .filter((transaction) => !left.has(transaction))
    .map((transaction) => [
      transaction.at.slice(0, 19).replace('T', ' '),
      String(transaction.xid),
      describeTimeLeft(transaction, nowMs),
      describeRows(transaction),
      [
        ...transaction.dangers.map(({ text }) => `!! ${text}`),
        ...(transaction.isReplayed ? [`(replayed on ${node}: too late)`] : []),
      ].join('; '),
    ]);
  return [
    ...alignTable([['TIME (UTC)', 'TRANSACTION', 'TIME LEFT', 'ROWS', ''], ...lines]),
    ...(left.size > 0 ? [`… and ${left.size} more that look harmless; --json has them.`] : []),
    ...(list.isCutOff
      ? [
          `There were too many: older ones are left out, of --json too, but for those that drop or truncate something, or update or delete ${MANY_ROWS} rows of a table. "rescue open --before" takes a time as well.`,
        ]
      : []),
    ...(list.gap === null ? [] : [describeGap(node, list.gap)]),
    ...(transactions.length === 0 && list.gap === null ? ['Nothing was committed in that time.'] : []),
  ].join('\n');
}

function describeGap(node: string, { receivedLsn, leaderLsn }: LogGap): string {
  const reach = `${node} has the log up to ${receivedLsn ?? 'nowhere'}`;
  return leaderLsn === null
    ? `There may be more: ${reach}, and nobody leads who could say whether that is all. See "lockstep status", and list again.`
    : `There is more to come: ${reach}, of ${leaderLsn} on the leader. See "lockstep status", and list again.`;
}

/** Until the delayed node shows it, too. */
function describeTimeLeft({ isReplayed, replaysAt }: JudgedTransaction, nowMs: number): string {
  if (isReplayed) return 'none';
  if (replaysAt === null) return 'on hold';
  const seconds = Math.max(0, Math.floor((Date.parse(replaysAt) - nowMs) / 1_000));
  const [days, hours, minutes] = [86_400, 3_600, 60].map((size) => Math.floor(seconds / size)) as [
    number,
    number,
    number,
  ];
  if (days > 0) return `${days}d ${hours % 24}h`;
  if (hours > 0) return `${hours}h ${minutes % 60}min`;
  return minutes > 0 ? `${minutes}min ${seconds % 60}s` : `${seconds}s`;
}

function describeRows({ tables }: JudgedTransaction): string {
  const parts = tables.slice(0, SHOWN_TABLES).map(({ table, inserted, updated, deleted }) => {
    const counts = [
      ...(inserted > 0 ? [`+${inserted}`] : []),
      ...(updated > 0 ? [`~${updated}`] : []),
      ...(deleted > 0 ? [`-${deleted}`] : []),
    ];
    return `${table} ${counts.join(' ')}`;
  });
  const more = tables.length - SHOWN_TABLES;
  return [...parts, ...(more > 0 ? [`${more} more tables`] : [])].join(', ') || 'definitions';
}

/** How far a rescue is, in a line. */
export function renderStatus(status: RescueStatus): string {
  return toPlainText(describePhase(status));
}

function describePhase(status: RescueStatus): string {
  const before =
    status.target?.xid == null
      ? (status.target?.at ?? status.target?.lsn)
      : `transaction ${status.target.xid}`;
  switch (status.phase) {
    case 'idle':
      return `No rescue is open; ${status.node} stays ${formatDelay(status.delayMs)} behind.`;
    case 'held':
      return status.problem ?? `The delay of ${status.node} is on hold.`;
    case 'rolling':
      return `${status.node} rolls forward to just before ${before}: at ${status.replayedLsn ?? 'its start'}.`;
    case 'open':
      return `${status.node} shows everything as it was just before ${before}.`;
    case 'closing':
      return `${status.node} goes back to the leader's history.`;
    default:
      return status.phase satisfies never;
  }
}

export function renderCounts(counts: readonly TableCounts[]): string {
  const rows = counts.map(({ table, past, present }) => [
    table,
    past === null ? '–' : String(past),
    present === null ? 'gone' : String(present),
    past === present ? '' : describeDifference(past, present),
  ]);
  return alignTable([['TABLE', 'THEN', 'NOW', ''], ...rows]).join('\n');
}

function describeDifference(past: number | null, present: number | null): string {
  if (past === null) return 'new since';
  if (present === null) return '!! dropped';
  return present > past ? `+${present - past}` : `-${past - present}`;
}

/** What has become of one table's rows. */
export function renderComparison(
  { table, presentTable, isWhole, rows, counts, others }: TableComparison,
  keys: Readonly<Record<string, readonly string[]>>,
): string {
  const label = labelOf(table);
  const whole = presentTable === null ? 'dropped' : isWhole ? 'emptied or written anew as a whole' : null;
  return [
    `${label}: ${rows.past} rows then, ${presentTable === null ? 'no table' : `${rows.present} rows`} now${whole === null ? '' : ` (${whole})`}`,
    `  missing        ${counts.missing}${listed(keys['missing'])}`,
    `  changed        ${counts.changed}${listed(keys['changed'])}`,
    `  touched since  ${counts.newer}${listed(keys['newer'])}`,
    ...(others > 0 ? [`  changed by others alone, which stays as it is: ${others}`] : []),
    ...(table.key.length === 0
      ? ['  It has no primary key: rows are compared as a whole, and can only be missing.']
      : []),
  ]
    .map(toPlainText)
    .join('\n');
}

function listed(keys: readonly string[] | undefined): string {
  return keys === undefined || keys.length === 0 ? '' : `  ${keys.join(' ')}`;
}

/** What a restore is about to do. */
export function renderPlan(plan: RestorePlan, leader: string): string {
  const objects = plan.dropped?.objects ?? [];
  return [
    `On the leader (${leader}), in one transaction:`,
    ...objects.map((object) => `  create  ${object}`),
    ...plan.tables.map(({ table, counts, presentTable }) => {
      const parts = [
        `${counts.missing} rows added`,
        ...(presentTable === null ? [] : [`${counts.changed} set back`]),
        ...(counts.newer === 0
          ? []
          : [
              plan.keepsNewer
                ? `${counts.newer} touched since kept as they are`
                : `${counts.newer} touched since OVERWRITTEN`,
            ]),
      ];
      return `  ${labelOf(table)}: ${parts.join(', ')}`;
    }),
  ]
    .map(toPlainText)
    .join('\n');
}

export function renderRestored(restored: readonly RestoredTable[]): string {
  return restored
    .flatMap(({ table, inserted, updated, kept, keptCount }) => [
      `${table}: ${inserted} rows added, ${updated} set back, ${keptCount} kept as they were written since`,
      ...(kept.length === 0 ? [] : [`  kept: ${kept.slice(0, 20).join(' ')}${keptCount > 20 ? ' …' : ''}`]),
    ])
    .map(toPlainText)
    .join('\n');
}

function alignTable(all: readonly (readonly string[])[]): readonly string[] {
  const rows = all.map((row) => row.map(toPlainText));
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

import type { FollowLag, FollowStatus, TableStatus } from '../../logical/follow/status.ts';
import { formatLsn } from '../../model/lsn.ts';
import { toPlainText } from './text-width.ts';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];
const BAR_WIDTH = 20;

/** What a follow shows of itself, without colours. */
export function renderFollow(status: FollowStatus): string[] {
  if (status.state === 'copying')
    return [`follow ${status.name} · copying`, ...status.tables.map(renderCopy)];
  const lines = [`follow ${status.name} · ${renderState(status)}`];
  if (status.state === 'following') {
    lines.push(
      `  ${renderLag(status)} · ${renderCount(status.transactionsPerSecond)} transactions/s · ${renderCount(status.changesPerSecond)} changes/s`,
      `  ${renderCount(status.transactions)} transactions with ${renderCount(status.changes)} changes applied, up to ${formatLsn(status.position)}`,
    );
  }
  if (status.quarantined > 0)
    lines.push(`  ${status.quarantined} transactions in quarantine: see "lockstep follow status"`);
  if (status.missingRows > 0) lines.push(`  ${status.missingRows} rows to change were missing at the target`);
  return lines;
}

/** The same in one line, for logs. */
export function renderFollowLine(status: FollowStatus): string {
  if (status.state === 'copying') {
    const done = status.tables.filter(({ state }) => state === 'copied').length;
    const bytes = status.tables.reduce((sum, { copiedBytes }) => sum + copiedBytes, 0);
    return `copying: ${done} of ${status.tables.length} tables, ${renderBytes(bytes)}`;
  }
  if (status.state !== 'following') return renderState(status);
  return `following: ${renderLag(status)}, ${renderCount(status.transactions)} transactions, ${renderCount(status.changesPerSecond)} changes/s`;
}

function renderState({ state, message }: FollowStatus): string {
  return message === null ? state : `${state}: ${toPlainText(message)}`;
}

export function renderLag({ lagBytes, lagMs, caughtUpInSeconds }: FollowLag): string {
  if (lagBytes === null) return 'lag not known yet';
  if (lagBytes === 0) return 'caught up';
  const time = lagMs === null ? '' : `, ${(lagMs / 1_000).toFixed(1)} s`;
  const rest = caughtUpInSeconds === null ? '' : `, caught up in ${Math.ceil(caughtUpInSeconds)} s`;
  return `${renderBytes(lagBytes)} behind${time}${rest}`;
}

function renderCopy({ table, state, copiedBytes, totalBytes, rows }: TableStatus): string {
  const share = state === 'copied' ? 1 : Math.min(1, totalBytes === 0 ? 0 : copiedBytes / totalBytes);
  const bar = '█'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '·');
  const what =
    rows === null ? renderBytes(copiedBytes) : `${renderCount(rows)} rows, ${renderBytes(copiedBytes)}`;
  return `  ${bar} ${toPlainText(table)}: ${state === 'copied' ? `${what}, done` : what}`;
}

export function renderBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toPrecision(3)} ${UNITS[unit]}`;
}

function renderCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { readKept, retryKept, skipKept } from '../../logical/follow/kept-transactions.ts';
import type { KeptTransaction } from '../../logical/follow/kept-transactions.ts';
import { readFollows, readFollowTables, readReports } from '../../logical/follow/registry.ts';
import type { FollowReport } from '../../logical/follow/registry.ts';
import { connectToLeader } from '../../logical/endpoints.ts';
import { ensureOwnSchema, hasOwnSchema } from '../../logical/apply/own-schema.ts';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import { hideArguments, needUrl } from './ends.ts';
import { renderLag } from '../screen/follow-lines.ts';
import { toPlainText } from '../screen/text-width.ts';

/** A follow that runs reports every five seconds. */
const SILENT_SECONDS = 20;

interface StateFlags {
  readonly from?: string;
  readonly to?: string;
  readonly name: string;
  readonly json: boolean;
}

/** `follow status|retry|skip`. The options of `follow` itself may stand before or behind them. */
export function addFollowStateCommands(follow: Command): void {
  follow
    .command('status')
    .description('how far the follows into a database are, and what is in quarantine')
    .action((_own: unknown, command: Command) => printStatus(command.optsWithGlobals()));
  follow
    .command('retry')
    .description('apply what is in quarantine once more, oldest first')
    .action((_own: unknown, command: Command) => retry(command.optsWithGlobals()));
  follow
    .command('skip')
    .description('never apply transactions that are in quarantine')
    .argument('[ids...]', 'which; see "follow status"', parseIds)
    .option('--all', 'every one of the follow', false)
    .action((ids: readonly number[] | undefined, own: { all: boolean }, command: Command) =>
      skip(command.optsWithGlobals(), own.all ? null : (ids ?? [])),
    );
}

function parseIds(text: string, before: readonly number[] = []): readonly number[] {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id < 1) throw new InvalidArgumentError('An id is a number from 1.');
  return [...before, id];
}

async function printStatus(flags: StateFlags): Promise<void> {
  hideArguments('follow status');
  const target = await connectToLeader(needUrl(flags.to, '--to'), {
    applicationName: 'lockstep follow status',
  });
  try {
    const hasFollows = await hasOwnSchema(target);
    if (hasFollows) await ensureOwnSchema(target);
    const rows = hasFollows ? await readFollows(target) : [];
    const reports = hasFollows ? await readReports(target) : [];
    const follows = await Promise.all(
      rows.map(async (row) => ({
        name: row.name,
        sourceSystem: row.sourceSystem,
        slot: row.slot,
        publication: row.publication,
        committedAt: row.committedAt,
        position: formatLsn(row.position),
        lastReport: reports.find(({ follow }) => follow === row.name) ?? null,
        tables: (await readFollowTables(target, row.name)).map(({ schema, name, copiedAt, copiedRows }) => ({
          table: `${schema}.${name}`,
          isCopied: copiedAt !== null,
          copiedRows,
        })),
        quarantine: (await readKept(target, row.name)).map((kept) => ({
          ...kept,
          position: formatLsn(kept.position),
        })),
      })),
    );
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ follows }, null, 2)}\n`);
      return;
    }
    if (follows.length === 0) process.stdout.write('No follow writes to this database.\n');
    for (const { name, position, committedAt, lastReport, tables, quarantine } of follows) {
      const age = committedAt === null ? '' : `, committed ${committedAt.toISOString()}`;
      process.stdout.write(`follow ${toPlainText(name)} · up to ${position}${age}\n`);
      if (lastReport !== null) process.stdout.write(`  ${renderReport(lastReport, Date.now())}\n`);
      for (const { table, isCopied, copiedRows } of tables)
        process.stdout.write(
          `  ${toPlainText(table)}: ${isCopied ? `copied (${copiedRows} rows), followed` : 'not copied yet'}\n`,
        );
      for (const kept of quarantine) process.stdout.write(`  in quarantine: ${renderKept(kept)}\n`);
    }
  } finally {
    await target.end();
  }
}

function renderReport({ reportedAt, lag }: FollowReport, nowMs: number): string {
  const seconds = Math.max(0, (nowMs - reportedAt.getTime()) / 1_000);
  if (seconds > SILENT_SECONDS)
    return `not heard of since ${reportedAt.toISOString()}: it does not run, or waits`;
  return `${renderLag(lag)} · ${Math.round(lag.transactionsPerSecond)} transactions/s · ${Math.round(lag.changesPerSecond)} changes/s`;
}

function renderKept(kept: Omit<KeptTransaction, 'position'> & { readonly position: string }): string {
  const { id, position, committedAt, tables, sqlState, error } = kept;
  return `${id}, committed ${committedAt.toISOString()} at ${position}, on ${toPlainText(`${tables.join(', ')}: ${error}`)} (${sqlState})`;
}

async function retry(flags: StateFlags): Promise<void> {
  hideArguments('follow retry');
  const outcome = await retryKept({
    from: needUrl(flags.from, '--from'),
    to: needUrl(flags.to, '--to'),
    follow: flags.name,
  });
  if (flags.json) process.stdout.write(`${JSON.stringify(outcome, null, 2)}\n`);
  else {
    process.stdout.write(
      `${outcome.applied} applied, ${outcome.failed.length} failed again, ${outcome.waiting} wait for those.\n`,
    );
    for (const { id, error } of outcome.failed) process.stdout.write(`  ${id}: ${toPlainText(error)}\n`);
  }
  if (outcome.failed.length > 0) process.exitCode = 1;
}

async function skip(flags: StateFlags, ids: readonly number[] | null): Promise<void> {
  hideArguments('follow skip');
  if (ids?.length === 0) throw new LockstepError('CONFIG_INVALID', 'Name the ids to skip, or --all.');
  const target = await connectToLeader(needUrl(flags.to, '--to'), {
    applicationName: 'lockstep follow skip',
  });
  try {
    const skipped = await skipKept(target, flags.name, ids);
    process.stdout.write(flags.json ? `${JSON.stringify({ skipped })}\n` : `${skipped} skipped.\n`);
  } finally {
    await target.end();
  }
}

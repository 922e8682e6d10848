import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { findNode } from '../../leader-follower/config/config.ts';
import type { RescueBefore } from '../../leader-follower/delayed/rescue-command.ts';
import type { RescueList } from '../../leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../leader-follower/delayed/rescue.ts';
import type { TableComparison } from '../../leader-follower/rescue/compare.ts';
import { labelOf } from '../../leader-follower/rescue/restore.ts';
import type { RescueSession } from '../../leader-follower/rescue/session.ts';
import { parseDuration } from '../../model/duration.ts';
import { LockstepError } from '../../model/errors.ts';
import { replaceFile } from '../../postgres/data-folder.ts';
import { fetchTopology } from '../commands/local-cluster.ts';
import { print, readConfig } from '../commands/plan-commands.ts';
import { CONFIG, STATE, stateDirOf } from '../commands/cluster-place.ts';
import type { ClusterPlace } from '../commands/cluster-place.ts';
import { askRescue, delayedNode, openSession, rescueStatus, untilOpen } from './rescue-node.ts';
import {
  renderComparison,
  renderCounts,
  renderList,
  renderPlan,
  renderRestored,
  renderStatus,
} from './rescue-text.ts';

/** How many keys of each kind `diff` shows, and how many it has with --json. */
const SHOWN_KEYS = 10;
const JSON_KEYS = 10_000;
const VERDICTS = ['missing', 'changed', 'newer'] as const;

interface Options extends ClusterPlace {
  readonly node?: string;
  readonly json: boolean;
}

interface TableOptions extends Options {
  readonly database?: string;
  readonly where?: string;
}

interface RestoreOptions extends TableOptions {
  readonly keepNewer: boolean;
  readonly overwriteNewer: boolean;
  readonly all: boolean;
  readonly yes: boolean;
}

/** `rescue …`: undoes a mistake from the delayed node. They need agents only, not `lockstep dev`. */
export function addRescueCommands(program: Command): void {
  const rescue = program
    .command('rescue')
    .description('brings back what a mistake took, from a node that stays behind on purpose');
  const add = (name: string, description: string): Command =>
    rescue
      .command(name)
      .description(description)
      .option(...STATE)
      .option(...CONFIG)
      .option('--node <name>', 'which delayed node, where there are several')
      .option('--json', 'print one JSON document', false);
  add('status', 'whether a rescue is open, and how far it is').action(async (options: Options) => {
    const { config, node } = await find(options);
    const status = await rescueStatus(config, node);
    show(options, withoutPassword(status), () => renderStatus(status));
  });
  add('list', 'the transactions, those marked that look like a mistake')
    .option('--since <duration>', 'how far back, like 30m (default: as far as the log is kept)', parseSince)
    .action((options: Options & { since?: number }) => list(options));
  add('open', 'holds the delay at once, and rolls forward to just before the mistake')
    .requiredOption(
      '--before <what>',
      'a transaction (81234), a position (0/5000028) or a time (ISO)',
      parseBefore,
    )
    .action((options: Options & { before: RescueBefore }) => open(options));
  add('browse', 'how to read the past with psql, and all tables then and now')
    .option('--database <name>', "another than the app's")
    .action((options: TableOptions) => browse(options));
  add('diff', 'rows that are missing, changed, or touched since; writes nothing')
    .argument('<table...>')
    .option('--where <condition>', 'only these rows of the past, in SQL')
    .option('--database <name>', "another than the app's")
    .action((tables: string[], options: TableOptions) => diff(tables, options));
  add('restore', 'shows what it will do, asks, and merges into the leader')
    .argument('[table...]')
    .option('--all', 'every table that the mistake touched', false)
    .option('--where <condition>', 'only these rows of the past, in SQL')
    .option('--keep-newer', 'rows that were written after the mistake stay as they are', false)
    .option('--overwrite-newer', 'set them back too', false)
    .option('--yes', 'do not ask', false)
    .option('--database <name>', "another than the app's")
    .action((tables: string[], options: RestoreOptions) => restore(tables, options));
  add('close', 'the delayed node goes back to its delay').action((options: Options) => close(options));
}

async function find(
  options: Options,
): Promise<{ readonly config: ClusterConfig; readonly node: NodeConfig }> {
  const config = await readConfig(options);
  return { config, node: delayedNode(config, options.node) };
}

function show(options: Options, value: unknown, text: () => string): void {
  print(options.json ? JSON.stringify(value, null, 2) : text());
}

function withoutPassword({ reader, ...status }: RescueStatus): unknown {
  return { ...status, reader: reader && { host: reader.host, port: reader.port, user: reader.user } };
}

async function list(options: Options & { since?: number }): Promise<void> {
  const { config, node } = await find(options);
  const found = await askRescue<RescueList>(config, node, { kind: 'list', sinceMs: options.since ?? null });
  show(options, found, () => renderList(found, Date.now()));
}

async function open(options: Options & { before: RescueBefore }): Promise<void> {
  const { config, node } = await find(options);
  await askRescue<RescueStatus>(config, node, { kind: 'open', before: options.before });
  let told = '';
  const status = await untilOpen(config, node, (progress) => {
    const line = renderStatus(progress);
    if (line !== told) process.stderr.write(`${line}\n`);
    told = line;
  });
  show(options, withoutPassword(status), () =>
    [renderStatus(status), 'Next: lockstep rescue browse, diff <table>, restore <table>, close.'].join('\n'),
  );
}

async function browse(options: TableOptions): Promise<void> {
  const { config, node } = await find(options);
  const status = await rescueStatus(config, node);
  await using session = await openSession(config, node, options.database);
  const counts = await session.count();
  const psql = await writePsqlLine(options, config, status);
  show(options, { psql, tables: counts }, () => [renderCounts(counts), '', psql].join('\n'));
}

/** The password goes into a file, not on the screen. */
async function writePsqlLine(
  options: TableOptions,
  config: ClusterConfig,
  { reader }: RescueStatus,
): Promise<string> {
  if (reader === null) return '';
  const passFile = join(stateDirOf(options), 'rescue.pgpass');
  try {
    await replaceFile(passFile, `*:*:*:${reader.user}:${reader.password}\n`, null);
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${passFile} cannot be written (${(error as NodeJS.ErrnoException).code}); run this as root, or name a folder of your own with --state.`,
      { cause: error },
    );
  }
  const database = options.database ?? config.database;
  return `PGPASSFILE=${passFile} psql "host=${reader.host} port=${reader.port} user=${reader.user} dbname=${database}"`;
}

async function keysOf(
  session: RescueSession,
  comparison: TableComparison,
  limit: number,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const keys: Record<string, readonly string[]> = {};
  for (const verdict of VERDICTS) keys[verdict] = await session.keysOf(comparison, verdict, limit);
  return keys;
}

async function diff(tables: readonly string[], options: TableOptions): Promise<void> {
  const { config, node } = await find(options);
  await using session = await openSession(config, node, options.database);
  const results: { readonly value: unknown; readonly text: string }[] = [];
  for (const name of tables) {
    const comparison = await session.compare(name, options.where ?? null);
    const keys = await keysOf(session, comparison, options.json ? JSON_KEYS : SHOWN_KEYS);
    const { table, presentTable, isWhole, rows, counts, others } = comparison;
    results.push({
      value: {
        table: labelOf(table),
        isDropped: presentTable === null,
        isWhole,
        rows,
        missing: counts.missing,
        changed: counts.changed,
        touchedSince: counts.newer,
        others,
        keys: { missing: keys['missing'], changed: keys['changed'], touchedSince: keys['newer'] },
      },
      text: renderComparison(comparison, keys),
    });
  }
  show(
    options,
    results.map(({ value }) => value),
    () => results.map(({ text }) => text).join('\n'),
  );
}

async function restore(tables: readonly string[], options: RestoreOptions): Promise<void> {
  const { config, node } = await find(options);
  checkChoices(tables, options);
  await using session = await openSession(config, node, options.database);
  const names = options.all ? await session.differing() : tables;
  const plan = await session.plan(names, {
    where: options.where ?? null,
    keepsNewer: !options.overwriteNewer,
  });
  const { leader } = await fetchTopology(config);
  const text = renderPlan(plan, leader ?? '');
  // Before it is refused, too: people decide by it.
  (options.json ? process.stderr : process.stdout).write(`${text}\n`);
  const newer = plan.tables.reduce((sum, { counts }) => sum + counts.newer, 0);
  if (newer > 0 && !options.keepNewer && !options.overwriteNewer) {
    refuse(
      `${newer} rows were written after the mistake (see "lockstep rescue diff"): say --keep-newer to leave them as they are, or --overwrite-newer to set them back too.`,
    );
  }
  if (!options.yes && !process.stdin.isTTY) refuse('Nobody can be asked here: say --yes.');
  if (!options.yes && !(await isConfirmed()))
    throw new LockstepError('CONFIG_INVALID', 'Nothing was changed.');
  const restored = await session.restore(plan);
  show(options, { created: plan.dropped?.objects ?? [], tables: restored }, () => renderRestored(restored));
}

function checkChoices(tables: readonly string[], options: RestoreOptions): void {
  if (options.keepNewer && options.overwriteNewer)
    refuse('--keep-newer and --overwrite-newer exclude each other.');
  if (options.all === tables.length > 0) refuse('Name the tables to restore, or say --all.');
  if (options.all && options.where !== undefined) refuse('--where is about the columns of named tables.');
}

function refuse(message: string): never {
  throw new LockstepError('CONFIG_INVALID', `${message} Nothing was changed.`);
}

async function isConfirmed(): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question('Do it? [y/N] ')).trim());
  } finally {
    terminal.close();
  }
}

async function close(options: Options): Promise<void> {
  const { config, node } = await find(options);
  const status = await askRescue<RescueStatus>(config, node, { kind: 'close' });
  show(options, withoutPassword(status), () =>
    [
      `The rescue is closed; ${findNode(config, node.name).name} goes back to staying ${node.delay} behind.`,
      'What came before now cannot be brought back from it any more.',
    ].join('\n'),
  );
}

function parseSince(text: string): number {
  try {
    return parseDuration(text, '--since');
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** PostgreSQL's first own number of a transaction, and the last: it counts in 32 bits. */
const FIRST_XID = 3;
const LAST_XID = 2 ** 32 - 1;

function parseBefore(text: string): RescueBefore {
  if (/^\d+$/.test(text)) {
    const xid = Number(text);
    if (xid >= FIRST_XID && xid <= LAST_XID) return { kind: 'xid', xid };
    throw new InvalidArgumentError(
      `${text} is no number of a transaction; "lockstep rescue list" shows them, from ${FIRST_XID} to ${LAST_XID}.`,
    );
  }
  if (/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(text)) return { kind: 'lsn', lsn: text.toUpperCase() };
  const atMs = Date.parse(text);
  if (!Number.isNaN(atMs)) return { kind: 'time', atMs };
  throw new InvalidArgumentError(
    `"${text}" is no transaction (81234), position in the log (0/5000028) or time (2030-01-31T03:00:00Z).`,
  );
}

import { setFlagsFromString } from 'node:v8';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { Follow } from '../../logical/follow/follow.ts';
import { parseTables } from '../../logical/tables.ts';
import type { FollowStatus } from '../../logical/follow/status.ts';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import { addFollowStateCommands } from './follow-state-commands.ts';
import { parsePort } from '../dev/ports.ts';
import { openMetricsPort } from './metrics-port.ts';
import { fromOption, hideArguments, needUrl, toOption } from './ends.ts';
import { createFollowScreen } from './follow-screen.ts';

const REPAINT_MS = 200;
const DEFAULT_JOBS = 2;

export interface FollowFlags {
  readonly from: string;
  readonly to: string;
  readonly tables: string;
  readonly name: string;
  readonly jobs: number;
  readonly maxSpool?: number;
  readonly createTables: boolean;
  readonly startOver: boolean;
  readonly untilCaughtUp: boolean;
  readonly metricsPort?: number;
  readonly json: boolean;
}

/** `follow`: tables of one database in another, kept the same; and what to do with what could not be applied. */
export function addFollowCommand(program: Command): void {
  const follow = program
    .command('follow')
    .description('copy tables into another database, and keep them the same until Ctrl-C')
    .addOption(fromOption('where they are: postgresql://user:password@host:port,host:port/database'))
    .addOption(toOption('where they go; the tables must be there, and empty at first'))
    .option('--tables <names>', "such as 'orders,shop.products'")
    .option('--name <name>', 'tells it from other follows into the same database', 'main')
    .option('--jobs <n>', 'tables that are copied at once', parseJobs, DEFAULT_JOBS)
    .option(
      '--max-spool <size>',
      "of the source's transactions in progress, keep up to so much in TMPDIR, like 20GB; 0 leaves all at the source (default: 64GB)",
      parseSize,
    )
    .option(
      '--create-tables',
      'create those that the target lacks, with their key and without indexes',
      false,
    )
    .option('--start-over', 'empty the tables and copy anew', false)
    .option('--metrics-port <port>', "serve Prometheus's /metrics on 127.0.0.1", parsePort)
    .option('--until-caught-up', 'end once the target has all of the source', false)
    .option('--json', 'at the end, print one JSON document', false)
    .action((flags: Partial<FollowFlags>) => {
      hideArguments('follow');
      return runFollow({ ...(flags as FollowFlags), ...requireEnds(flags) });
    });
  addFollowStateCommands(follow);
}

function requireEnds({
  from,
  to,
  tables,
}: Partial<FollowFlags>): Pick<FollowFlags, 'from' | 'to' | 'tables'> {
  if (tables !== undefined) return { from: needUrl(from, '--from'), to: needUrl(to, '--to'), tables };
  throw new LockstepError(
    'CONFIG_INVALID',
    "Say what to follow: lockstep follow --from <url> --to <url> --tables 'orders,products'.",
  );
}

/** Follows until Ctrl-C, and shows how far it is. */
export async function runFollow(flags: FollowFlags): Promise<void> {
  keepYoungMemorySmall();
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  const screen = createFollowScreen(process.stderr);
  const follow = new Follow({
    from: flags.from,
    to: flags.to,
    tables: parseTables(flags.tables),
    name: flags.name,
    jobs: flags.jobs,
    ...(flags.maxSpool === undefined ? {} : { maxSpoolBytes: flags.maxSpool }),
    createsTables: flags.createTables,
    startsOver: flags.startOver,
    onEvent: (sentence) => screen.tell(sentence),
  });
  await using _metrics =
    flags.metricsPort === undefined ? null : await openMetricsPort(flags.metricsPort, () => follow.status);
  const timer = setInterval(() => {
    const { status } = follow;
    screen.show(status);
    if (flags.untilCaughtUp && status.state === 'following' && status.lagBytes === 0) stop.abort();
  }, REPAINT_MS);
  try {
    await follow.run(stop.signal);
  } finally {
    clearInterval(timer);
    screen.show(follow.status);
  }
  if (flags.json) process.stdout.write(`${JSON.stringify(toJson(follow.status), null, 2)}\n`);
  else
    process.stderr.write(
      `Stopped at ${formatLsn(follow.status.position)}; the same command goes on from there.\n`,
    );
}

/**
 * Rows come and go at once here. Node.js would give them up to 128 MB before it looks what is still in use, and the buffers that they
 * lie in go no sooner. Once set, V8 makes the space for new objects no larger than it is.
 */
function keepYoungMemorySmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** As JSON has it: positions as text. */
function toJson(status: FollowStatus): object {
  const { position, sourceLsn } = status;
  return {
    ...status,
    position: formatLsn(position),
    sourceLsn: sourceLsn === null ? null : formatLsn(sourceLsn),
  };
}

function parseJobs(text: string): number {
  const jobs = Number(text);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 32) throw new InvalidArgumentError('Jobs are 1 to 32.');
  return jobs;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { MB: 1_048_576, GB: 1_073_741_824 };

function parseSize(text: string): number {
  if (text === '0') return 0;
  const [, count, unit = ''] = /^([1-9]\d{0,5})(MB|GB)$/.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError('Write a size like 500MB or 20GB, or 0.');
  return Number(count) * (SIZE_UNITS[unit] ?? 1);
}

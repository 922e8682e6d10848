import { describeMachine } from '../machine.ts';
import { ApplyServers } from '../apply/servers.ts';
import { singleRow as row } from '../result.ts';
import type { Bar, BenchResult, Row } from '../result.ts';
import { runCompare } from './compare.ts';
import { runCopy, runResumedCopy } from './copy.ts';
import { buildProgram } from './follow-process.ts';
import { runHotRows } from './hot-rows.ts';
import { runHangingTarget, runLargeTransaction } from './memory.ts';
import type { MemoryResult } from './memory.ts';

const UPDATES = 1_000_000;
const ROWS = 5_000_000;
const ROWS_WHILE_HANGING = 1_000_000;
const NONE: Bar = { most: 0 };
const MEMORY: Bar = { most: 200 };
/** Two gigabytes. */
const ROWS_TO_COPY = 15_000_000;
const COPY_TIMES: Bar = { most: 1.2 };

export interface FollowBenchOptions {
  readonly only: string | null;
  /** Divides the sizes, to try it out; 1 in a full run. */
  readonly share: number;
  /** `auto`, `system`, `embedded` or a bin folder. */
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

type Measure = (servers: ApplyServers, options: FollowBenchOptions) => Promise<Row[]>;

const MEASURES: Readonly<Record<string, Measure>> = {
  copy: measureCopy,
  'resumed-copy': measureResumedCopy,
  'hot-rows': measureHotRows,
  compare: measureCompare,
  'memory-large': measureLarge,
  'memory-hang': measureHang,
};

/** What `lockstep follow` and `compare` promise of themselves: nothing skipped, found in time, bounded memory. */
export async function runFollowBench(options: FollowBenchOptions): Promise<BenchResult> {
  const when = new Date().toISOString();
  const rows: Row[] = [];
  const versions = new Set<string>();
  buildProgram();
  for (const [name, measure] of Object.entries(MEASURES)) {
    if (options.only !== null && !name.startsWith(options.only)) continue;
    options.progress(`${name} …`);
    // Debian's pgcopydb knows no later version than its own PostgreSQL.
    const preset = name.endsWith('copy') ? 'system' : 'embedded';
    await using servers = await ApplyServers.start(options.postgres === 'auto' ? preset : options.postgres);
    versions.add(servers.version);
    rows.push(...(await measure(servers, options)));
  }
  if (rows.length === 0) throw new Error(`No metric starts with "${options.only}".`);
  return { when, machine: describeMachine([...versions].join(' and ')), rows };
}

async function measureHotRows(servers: ApplyServers, { share, signal }: FollowBenchOptions): Promise<Row[]> {
  const result = await runHotRows(servers, Math.round(UPDATES * share), signal);
  const { updates, skipped, applied, peerSkipped } = result;
  failIfDiffering(result.differing);
  const note = `of ${updates} updates of 100 rows by 4 writers; ${applied} changes arrived`;
  const peerName = peerSkipped === null ? null : `PostgreSQL ${servers.major}'s subscription`;
  return [
    row({
      metric: 'hot-rows/skipped',
      unit: 'updates',
      value: skipped,
      bar: NONE,
      note,
      peer: peerSkipped,
      peerName,
    }),
    row({ metric: 'hot-rows/not-arrived', unit: 'updates', value: updates - applied, bar: NONE, note: null }),
  ];
}

async function measureCompare(servers: ApplyServers, { share, signal }: FollowBenchOptions): Promise<Row[]> {
  const result = await runCompare(servers, Math.round(ROWS * share), signal);
  const { rows, seconds, planted, found, wrong, undecided, written, cpuSeconds } = result;
  const note = `${rows} rows; ${written} transactions of 4 to 5 rows were committed meanwhile; ${cpuSeconds.map((each) => each.toFixed(1)).join(' and ')} s of CPU time at source and target`;
  return [
    row({ metric: 'compare/seconds', unit: 's', value: seconds, bar: { most: 30 }, note }),
    row({
      metric: 'compare/not-found',
      unit: 'rows',
      value: planted - found,
      bar: NONE,
      note: `of ${planted}`,
    }),
    row({ metric: 'compare/false', unit: 'rows', value: wrong, bar: NONE, note: null }),
    row({ metric: 'compare/undecided', unit: 'rows', value: undecided, bar: NONE, note: null }),
  ];
}

async function measureCopy(servers: ApplyServers, { share, signal }: FollowBenchOptions): Promise<Row[]> {
  const result = await runCopy(servers, Math.round(ROWS_TO_COPY * share), signal);
  failIfDiffering(result.differing);
  const { seconds, peerSeconds, megabytes, rows } = result;
  const note = `${Math.round(megabytes)} MB in 4 tables with ${rows} rows, two at a time${peerSeconds === null ? '; pgcopydb is not installed' : ''}`;
  const peer = { peer: peerSeconds, peerName: peerSeconds === null ? null : 'pgcopydb' };
  const ratio = peerSeconds === null ? null : seconds / peerSeconds;
  const bar = ratio === null ? null : COPY_TIMES;
  return [row({ metric: 'copy', unit: 's', value: seconds, bar, note, ...peer, ratio })];
}

async function measureResumedCopy(
  servers: ApplyServers,
  { share, signal }: FollowBenchOptions,
): Promise<Row[]> {
  const result = await runResumedCopy(servers, Math.round(ROWS_TO_COPY * share), signal);
  failIfDiffering(result.differing);
  const { rows, rowsAtKill, rowsAgain } = result;
  const note = `of ${rowsAtKill} that were there when the copy of ${rows} was killed`;
  return [row({ metric: 'resumed-copy/again', unit: 'rows', value: rowsAgain, bar: NONE, note })];
}

async function measureLarge(servers: ApplyServers, { share, signal }: FollowBenchOptions): Promise<Row[]> {
  const result = await runLargeTransaction(servers, Math.round(ROWS * share), signal);
  return [memoryRow('memory-large', `one transaction of ${result.rows} rows`, result)];
}

async function measureHang(servers: ApplyServers, { share, signal }: FollowBenchOptions): Promise<Row[]> {
  const result = await runHangingTarget(servers, Math.round(ROWS_WHILE_HANGING * share), signal);
  return [memoryRow('memory-hang', `${result.rows} rows came while the target hung`, result)];
}

function memoryRow(metric: string, note: string, { peakMb, differing }: MemoryResult): Row {
  failIfDiffering(differing);
  return row({ metric, unit: 'MB', value: peakMb, bar: MEMORY, note });
}

function failIfDiffering(tables: readonly string[]): void {
  if (tables.length > 0) throw new Error(`The target has other rows in ${tables.join(', ')}.`);
}

import { setTimeout as delay } from 'node:timers/promises';
import { quorum } from '../../../src/leaderless/index.ts';
import type { Quorum } from '../../../src/leaderless/index.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { IndependentServers } from '../../integration/leaderless/servers.ts';
import { call, CartLedger } from './callers.ts';
import { strike } from './faults.ts';
import type { FaultName } from './faults.ts';
import { Partition } from './partition.ts';
import { Recorder } from './recorder.ts';
import type { HistoryLine } from './recorder.ts';

export interface HistoriesOptions {
  readonly durationMs: number;
  readonly seed: number;
  /** Which faults, in turn. */
  readonly faults: readonly FaultName[];
  readonly write: (line: HistoryLine) => void;
  readonly say: (what: string) => void;
}

export interface HistoriesResult {
  readonly calls: Recorder['counts'];
  readonly cart: { readonly adds: number; readonly reads: number; readonly removals: number };
  readonly faults: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

const PROCESSES = 3;
const CALLERS = 4;
const KEY_LIFE_MS = 3_000;
const KEYS = 3;

/** Calls on real servers under faults; every answer is checked. */
export async function runHistories(options: HistoriesOptions): Promise<HistoriesResult> {
  const random = createRandom(options.seed);
  await using servers = await IndependentServers.start();
  await (await servers.quorum()).close();
  await using stack = new AsyncDisposableStack();
  const partitions: Partition[][] = [];
  const opened: Quorum[] = [];
  for (let index = 0; index < PROCESSES; index++) {
    const links = await Promise.all(servers.servers.map(({ url }) => Partition.before(url)));
    for (const link of links) stack.use(link);
    partitions.push(links);
    const nodes = links.map(({ url }, at) => ({ name: `q${at + 1}`, url }));
    const process = await quorum({ nodes, deadlineMs: 1_500, keepDeletedMs: 10_000 });
    stack.defer(() => process.close());
    opened.push(process);
  }
  const recorder = new Recorder(options.write);
  const carts = new CartLedger();
  const startedAtMs = performance.now();
  const isOpen = (): boolean => performance.now() - startedAtMs < options.durationMs;
  const key = (): string => {
    const age = Math.floor((performance.now() - startedAtMs) / KEY_LIFE_MS);
    return `r${age}-${Math.floor(random() * KEYS)}`;
  };
  const work = Promise.all(
    opened.flatMap((process) =>
      Array.from({ length: CALLERS }, () => call(process, { recorder, random, isOpen, key, carts })),
    ),
  );
  const struck: Record<string, number> = {};
  const world = { servers, partitions, random, say: options.say, sleep: (ms: number) => delay(ms) };
  for (let turn = 0; isOpen(); turn++) {
    const fault = options.faults[turn % options.faults.length] as FaultName;
    await strike(fault, world, 500 + random() * 3_000);
    struck[fault] = (struck[fault] ?? 0) + 1;
    await delay(500 + random() * 1_500);
  }
  await work;
  recorder.checkAll();
  return {
    calls: recorder.counts,
    cart: { adds: carts.adds, reads: carts.reads, removals: carts.removals },
    faults: struck,
    violations: [...recorder.violations, ...carts.violations],
  };
}

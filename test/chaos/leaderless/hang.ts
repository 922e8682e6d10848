import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import pg from 'pg';
import { cart, cas, lww } from '../../../src/leaderless/index.ts';
import type { Quorum, QuorumOptions } from '../../../src/leaderless/index.ts';
import { IndependentServers } from '../../integration/leaderless/servers.ts';
import { suspended } from './faults.ts';

export interface HangOptions {
  readonly hangMs: number;
  readonly callers: number;
  readonly quorum: Omit<QuorumOptions, 'nodes'>;
  readonly everyMs: number;
  readonly say: (what: string) => void;
}

export interface HangResult {
  readonly answers: number;
  /** The message of each call that failed. */
  readonly failures: readonly string[];
  readonly longestPauseMs: number;
  /** The most that waited for the server that hung. */
  readonly mostWaitingBytes: number;
  /** What this process held after collecting garbage: before, and from then on while the server hung. */
  readonly heapBefore: number;
  readonly heaps: readonly number[];
  /** Whether all servers held the same in the end. */
  readonly isEqual: boolean;
}

const KEYS = 2_000;

/** Calls of all kinds while one of three servers hangs: what they hold in memory meanwhile, and what that server lacks in the end. */
export async function runHang(options: HangOptions): Promise<HangResult> {
  const { hangMs, callers, everyMs, say } = options;
  await using servers = await IndependentServers.start();
  const opened = await servers.quorum(options.quorum);
  const load = startLoad(opened, callers);
  const heaps: number[] = [];
  let heapBefore = 0;
  let mostWaitingBytes = 0;
  try {
    await delay(Math.min(10_000, hangMs));
    heapBefore = heapAfterCollecting();
    await suspended(servers.dataDir('q2'), async () => {
      const endsAtMs = performance.now() + hangMs;
      for (let nextMs = everyMs; performance.now() < endsAtMs;) {
        mostWaitingBytes = Math.max(mostWaitingBytes, opened.status().nodes[1]?.waitingBytes ?? 0);
        await delay(20);
        if (performance.now() < endsAtMs - hangMs + nextMs) continue;
        nextMs += everyMs;
        heaps.push(heapAfterCollecting());
        say(
          `${heaps.at(-1)} bytes held, ${load.answers} answers, hints ${JSON.stringify(opened.status().hints)}`,
        );
      }
    });
  } finally {
    await load.end();
  }
  const isEqual = await becomeEqual(servers, opened);
  const { answers, failures, longestPauseMs } = load;
  return { answers, failures, longestPauseMs, mostWaitingBytes, heapBefore, heaps, isEqual };
}

interface Load {
  answers: number;
  failures: string[];
  longestPauseMs: number;
  end(): Promise<void>;
}

function startLoad(opened: Quorum, callers: number): Load {
  const prefs = opened.collection('prefs', lww<string>());
  const carts = opened.collection('carts', cart());
  const seats = opened.collection('seats', cas<number>());
  const value = 'x'.repeat(1_000);
  let isOver = false;
  const load: Load = {
    answers: 0,
    failures: [],
    longestPauseMs: 0,
    end: async () => {
      isOver = true;
      await working;
    },
  };
  const call = async (caller: number): Promise<void> => {
    for (let turn = caller; !isOver; turn += callers) {
      const key = `k${turn % KEYS}`;
      const startedAtMs = performance.now();
      const work = [
        () => prefs.put(key, value),
        () => carts.add(key, { sku: 1, quantity: 1 }),
        () => seats.update(key, (count = 0) => count + 1),
        () => prefs.get(key),
      ][Math.floor(turn / callers) % 4];
      await work?.().catch((error: unknown) => load.failures.push(String(error)));
      load.longestPauseMs = Math.max(load.longestPauseMs, performance.now() - startedAtMs);
      load.answers += 1;
    }
  };
  const working = Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)));
  return load;
}

function heapAfterCollecting(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Nobody writes any more: the server is given what it missed. */
async function becomeEqual(servers: IndependentServers, opened: Quorum): Promise<boolean> {
  const endsAtMs = performance.now() + 120_000;
  while (performance.now() < endsAtMs) {
    await opened.repair();
    const digests = await Promise.all(servers.servers.map(({ url }) => digestOf(url)));
    if (new Set(digests).size === 1) return true;
    await delay(100);
  }
  return false;
}

async function digestOf(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ text: string }>(
      `SELECT (SELECT count(*) || ' ' || sum(hashtextextended(key || value || at || writer, 0)::numeric) FROM lockstep_leaderless.registers)
        || ' ' || (SELECT count(*) || ' ' || sum(hashtextextended(key || item || actor || added, 0)::numeric) FROM lockstep_leaderless.tallies) AS text`,
    );
    return rows[0]?.text ?? '';
  } finally {
    await client.end();
  }
}

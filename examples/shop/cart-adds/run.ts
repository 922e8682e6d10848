import { setTimeout as delay } from 'node:timers/promises';
import type { IndependentServers } from '../../../test/integration/leaderless/servers.ts';
import { AddLedger } from './ledger.ts';
import type { Way } from './ways.ts';

export interface AddsOptions {
  readonly adds: number;
  readonly carts: number;
  readonly products: number;
  /** How many add at the same time. */
  readonly concurrency: number;
  readonly isKilling: boolean;
  readonly seed: number;
  readonly progress: (line: string) => void;
}

export interface AddsResult {
  readonly way: string;
  readonly acknowledged: number;
  /** Adds that ended without an acknowledgement, and may be there. */
  readonly unacknowledged: number;
  /** Pieces that were acknowledged and are not in their carts. */
  readonly lost: number;
  /** Pieces that are in carts and that nobody added. */
  readonly invented: number;
  readonly addsPerSecond: number;
  /** The longest time in which no add was acknowledged. */
  readonly longestGapMs: number;
  readonly kills: number;
}

const DOWN_MS = 1_500;
const UP_MS = 1_500;
const SAY_MS = 2_000;
const READ_AT_ONCE = 200;

/** Adds pieces to carts by two processes' worth of callers, while servers die, and counts what is there in the end. */
export async function runAdds(
  ways: readonly [Way, Way],
  servers: IndependentServers,
  options: AddsOptions,
): Promise<AddsResult> {
  const { adds, carts, products, concurrency, progress } = options;
  const ledger = new AddLedger(carts, products);
  const random = numbersFrom(options.seed);
  const startedAtMs = performance.now();
  let begun = 0;
  let lastMs = startedAtMs;
  let longestGapMs = 0;
  const caller = async (index: number): Promise<void> => {
    const way = ways[index % 2] as Way;
    while (begun < adds) {
      begun += 1;
      const [cartIndex, product] = [Math.floor(random() * carts), Math.floor(random() * products)];
      try {
        await way.add(`cart-${cartIndex}`, product);
        ledger.add(cartIndex, product);
        const nowMs = performance.now();
        longestGapMs = Math.max(longestGapMs, nowMs - lastMs);
        lastMs = nowMs;
      } catch {
        ledger.doubt(cartIndex, product);
      }
    }
  };
  const done = new AbortController();
  const killer = options.isKilling ? killInTurn(servers, done.signal, progress) : Promise.resolve(0);
  const talk = setInterval(() => {
    progress(
      `${ways[0].name}: ${ledger.acknowledged.toLocaleString('en')} of ${adds.toLocaleString('en')} added`,
    );
  }, SAY_MS);
  let kills: number;
  let tookMs: number;
  try {
    await Promise.all(Array.from({ length: concurrency }, (_, index) => caller(index)));
  } finally {
    tookMs = performance.now() - startedAtMs;
    clearInterval(talk);
    done.abort();
    kills = await killer;
  }
  const { lost, invented } = await count(ways[0], ledger);
  return {
    way: ways[0].name,
    acknowledged: ledger.acknowledged,
    unacknowledged: ledger.doubtful,
    lost,
    invented,
    addsPerSecond: Math.round((ledger.acknowledged * 1_000) / tookMs),
    longestGapMs: Math.round(longestGapMs),
    kills,
  };
}

/** Ends one server after another as a crash would, and starts it again. Returns how many. */
async function killInTurn(
  servers: IndependentServers,
  signal: AbortSignal,
  progress: (line: string) => void,
): Promise<number> {
  let kills = 0;
  const pause = (ms: number): Promise<unknown> => delay(ms, undefined, { signal }).catch(() => undefined);
  while (!signal.aborted) {
    await pause(UP_MS);
    const victim = servers.servers[kills % servers.servers.length];
    if (signal.aborted || victim === undefined) break;
    progress(`${victim.name} is killed`);
    await servers.kill(victim.name);
    kills += 1;
    await pause(DOWN_MS);
    await servers.restart(victim.name);
  }
  return kills;
}

async function count(
  way: Way,
  ledger: AddLedger,
): Promise<{ readonly lost: number; readonly invented: number }> {
  let lost = 0;
  let invented = 0;
  for (let from = 0; from < ledger.carts; from += READ_AT_ONCE) {
    const indexes = Array.from(
      { length: Math.min(READ_AT_ONCE, ledger.carts - from) },
      (_, index) => from + index,
    );
    const read = await Promise.all(indexes.map((index) => way.read(`cart-${index}`)));
    read.forEach((quantities, index) => {
      const judged = ledger.judge(from + index, quantities);
      lost += judged.lost;
      invented += judged.invented;
    });
  }
  return { lost, invented };
}

/** Source: the "minimal standard" generator of Park and Miller. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

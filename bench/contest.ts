import { setTimeout as delay } from 'node:timers/promises';
import { Contestant, Unsupported } from './contestant.ts';
import type { ContestantPlan, Round } from './contestant.ts';
import { readTreeCpuMs, readTreeMemoryMb } from './process-usage.ts';
import type { ProcessUse } from './result.ts';

/** How a contest runs. */
export interface Pace {
  /** How often each contestant runs. */
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmupMs: number;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

/** A server or proxy that contestants use. */
export interface SharedProcess {
  readonly name: string;
  readonly pid: number;
}

/** All rounds of one contestant, or why there are none. */
export interface Performance {
  readonly plan: ContestantPlan;
  readonly rounds: readonly Round[];
  readonly uses: readonly ProcessUse[];
  readonly unsupported: string | null;
}

/** So that what the last contestant left behind (log on its way to followers) is not the next one's. */
const PAUSE_MS = 40;

/** The contestants run in turn, many short rounds in the same minutes, each second time in reverse order. */
export async function runContest(
  plans: readonly ContestantPlan[],
  shared: readonly SharedProcess[],
  pace: Pace,
): Promise<ReadonlyMap<string, Performance>> {
  await using crew = new AsyncDisposableStack();
  const runners: Runner[] = [];
  const outcome = new Map<string, Performance>();
  for (const plan of plans) {
    pace.signal.throwIfAborted();
    try {
      const contestant = crew.use(await Contestant.start(plan));
      await contestant.round(pace.warmupMs);
      runners.push(new Runner(contestant, shared));
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      outcome.set(plan.key, { plan, rounds: [], uses: [], unsupported: error.message });
    }
  }
  for (let index = 0; index < pace.rounds && runners.length > 0; index += 1) {
    for (const runner of index % 2 === 0 ? runners : runners.toReversed()) {
      pace.signal.throwIfAborted();
      await delay(PAUSE_MS);
      await runner.run(pace.roundMs);
    }
    pace.progress(
      `round ${index + 1} of ${pace.rounds}: ${runners.map((runner) => runner.lastWords).join(', ')}`,
    );
  }
  for (const runner of runners) outcome.set(runner.plan.key, runner.performance());
  return outcome;
}

/** One contestant's rounds, and what the servers used meanwhile. */
class Runner {
  readonly #contestant: Contestant;
  readonly #shared: readonly SharedProcess[];
  readonly #sharedCpuMs: number[];
  readonly #sharedMemoryMb: (number | null)[];
  readonly #rounds: Round[] = [];

  constructor(contestant: Contestant, shared: readonly SharedProcess[]) {
    this.#contestant = contestant;
    this.#shared = shared;
    this.#sharedCpuMs = shared.map(() => 0);
    this.#sharedMemoryMb = shared.map(() => null);
  }

  get plan(): ContestantPlan {
    return this.#contestant.plan;
  }

  get lastWords(): string {
    return `${this.plan.name} ${Math.round(this.#rounds.at(-1)?.operationsPerSecond ?? 0)}/s`;
  }

  async run(durationMs: number): Promise<void> {
    const before = this.#shared.map(({ pid }) => readTreeCpuMs(pid));
    this.#rounds.push(await this.#contestant.round(durationMs));
    this.#shared.forEach(({ pid }, index) => {
      this.#sharedCpuMs[index] = (this.#sharedCpuMs[index] ?? 0) + readTreeCpuMs(pid) - (before[index] ?? 0);
      this.#sharedMemoryMb[index] = readTreeMemoryMb(pid);
    });
  }

  performance(): Performance {
    const operations = sum(this.#rounds.map((round) => round.operations));
    const elapsedMs = sum(
      this.#rounds.map((round) => (round.operations * 1_000) / round.operationsPerSecond),
    );
    const use = (process: string, cpuMs: number, memoryMb: number | null): ProcessUse => ({
      during: this.plan.name,
      process,
      cores: round(cpuMs / elapsedMs, 3),
      cpuMicrosPerOperation: round((cpuMs * 1_000) / operations, 1),
      memoryMb: memoryMb === null ? null : round(memoryMb, 1),
    });
    const own = use(
      'client',
      sum(this.#rounds.map(({ cpuMs }) => cpuMs)),
      this.#rounds.at(-1)?.memoryMb ?? null,
    );
    const others = this.#shared.map(({ name }, index) =>
      use(name, this.#sharedCpuMs[index] ?? 0, this.#sharedMemoryMb[index] ?? null),
    );
    return { plan: this.plan, rounds: this.#rounds, uses: [own, ...others], unsupported: null };
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

import { cas, lww, quorum } from '../../../src/leaderless/index.ts';
import type { CasCollection, Quorum } from '../../../src/leaderless/index.ts';
import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { ownKeys, scatteredKeys, valueOf, KEY_COUNT, keyOf } from '../keys.ts';
import type { Value } from '../keys.ts';
import type { Work, WorkloadOptions } from '../operations.ts';

/** Quorum collections as an app uses them, with default options but for their patience. */
export async function createWorkload(options: WorkloadOptions): Promise<Workload> {
  // A machine that is busy with something else must not end the bench.
  const opened = await quorum({ nodes: options.urls, deadlineMs: 20_000, statementTimeoutMs: 10_000 });
  const work = await workOf(opened, options);
  return {
    round: (durationMs) =>
      runClosedLoop(options.callers, durationMs, work, () => {
        const { rounds, hints, repairs } = opened.status();
        return { ...rounds, repairs, hinted: hints.noted };
      }),
    end: () => opened.close(),
  };
}

async function workOf(opened: Quorum, { operation, callers }: WorkloadOptions): Promise<Work> {
  const settings = opened.collection('settings', lww<Value>());
  const seats = opened.collection('seats', cas<Value>());
  const anyKey = scatteredKeys();
  let turn = 0;
  switch (operation) {
    case 'put':
      return () => settings.put(anyKey(), valueOf(++turn));
    case 'quiet-get':
      await fill((key) => settings.put(key, valueOf(0)));
      return () => settings.get(anyKey());
    case 'get':
      await fill((key) => seats.create(key, valueOf(0)));
      return () => seats.get(anyKey());
    case 'compare-and-set':
      await fill((key) => seats.create(key, valueOf(0)));
      return compareAndSet(seats, callers);
    case 'hot-key': {
      const counts = opened.collection('counts', cas<number>());
      return async () => {
        const { kind } = await counts.update('hot', (count = 0) => count + 1);
        if (kind !== 'applied') throw new Error(`The hot key answered ${kind}.`);
      };
    }
  }
}

function compareAndSet(seats: CasCollection<Value>, callers: number): Work {
  const nextKey = ownKeys(callers);
  const versions = new Map<string, number>();
  let turn = 0;
  return async (caller) => {
    const key = nextKey(caller);
    const known = versions.get(key) ?? (await seats.get(key)).version;
    const result = await seats.compareAndSet(key, known, valueOf(++turn));
    if (result.kind !== 'applied') throw new Error(`A caller's own key answered ${result.kind}.`);
    versions.set(key, result.version);
  };
}

/** All keys have a value before the first round. */
async function fill(write: (key: string) => Promise<unknown>): Promise<void> {
  const size = 1_000;
  for (let from = 0; from < KEY_COUNT; from += size)
    await Promise.all(Array.from({ length: size }, (_, index) => write(keyOf(from + index))));
}

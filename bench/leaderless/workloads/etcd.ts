import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { openGateway } from '../etcd/gateway.ts';
import { openGrpc } from '../etcd/grpc.ts';
import type { EtcdStore } from '../etcd/store.ts';
import { KEY_COUNT, keyOf, ownKeys, scatteredKeys, valueOf } from '../keys.ts';
import type { Work, WorkloadOptions } from '../operations.ts';

export interface EtcdOptions extends WorkloadOptions {
  readonly door: 'grpc' | 'gateway';
  /** Callers of one turn share a transaction, as they do in Lockstep; for the hot key. */
  readonly isCombined?: boolean;
}

const HOT = 'hot';

export async function createWorkload(options: EtcdOptions): Promise<Workload> {
  const { door, callers, urls } = options;
  const [url = ''] = urls;
  const store = door === 'grpc' ? openGrpc(url) : openGateway(url, callers);
  const work = await workOf(store, options);
  return {
    round: (durationMs) => runClosedLoop(callers, durationMs, work),
    end: async () => store.close(),
  };
}

async function workOf(store: EtcdStore, { operation, callers, isCombined }: EtcdOptions): Promise<Work> {
  const anyKey = scatteredKeys();
  let turn = 0;
  if (operation !== 'hot-key') await fill(store);
  switch (operation) {
    case 'put':
      return () => store.put(anyKey(), JSON.stringify(valueOf(++turn)));
    case 'get':
      return async () => JSON.parse((await store.get(anyKey(), false)).value ?? 'null') as unknown;
    case 'quiet-get':
      return async () => JSON.parse((await store.get(anyKey(), true)).value ?? 'null') as unknown;
    case 'compare-and-set':
      return compareAndSet(store, callers);
    case 'hot-key':
      return isCombined === true ? combined(store) : () => addOne(store);
  }
}

function compareAndSet(store: EtcdStore, callers: number): Work {
  const nextKey = ownKeys(callers);
  const revisions = new Map<string, number>();
  let turn = 0;
  return async (caller) => {
    const key = nextKey(caller);
    const value = JSON.stringify(valueOf(++turn));
    for (let known = revisions.get(key); ;) {
      known ??= (await store.get(key, false)).revision;
      const revision = await store.replace(key, known, value);
      if (revision !== null) return void revisions.set(key, revision);
      // The client sent again what had been done: under load it does not wait for an answer that is late.
      known = undefined;
    }
  };
}

/** Reads and replaces until nobody came in between: what an app does without a combiner. */
async function addOne(store: EtcdStore): Promise<void> {
  for (;;) {
    const { value, revision } = await store.get(HOT, false);
    if ((await store.replace(HOT, revision, String(Number(value ?? 0) + 1))) !== null) return;
  }
}

/** All that wait are added in one transaction; what the last one left is known without reading. */
function combined(store: EtcdStore): Work {
  let waiting: (() => void)[] = [];
  let known: { count: number; revision: number } | null = null;
  let isBusy = false;
  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      const served = waiting;
      waiting = [];
      for (;;) {
        if (known === null) {
          const { value, revision } = await store.get(HOT, false);
          known = { count: Number(value ?? 0), revision };
        }
        const count: number = known.count + served.length;
        const revision = await store.replace(HOT, known.revision, String(count));
        known = revision === null ? null : { count, revision };
        if (known !== null) break;
      }
      for (const done of served) done();
    }
    isBusy = false;
  };
  return () =>
    new Promise<void>((resolve, reject) => {
      waiting.push(resolve);
      if (isBusy) return;
      isBusy = true;
      setImmediate(() => run().catch(reject));
    });
}

async function fill(store: EtcdStore): Promise<void> {
  const size = 100;
  for (let from = 0; from < KEY_COUNT; from += size)
    await Promise.all(
      Array.from({ length: size }, (_, index) => store.put(keyOf(from + index), JSON.stringify(valueOf(0)))),
    );
}

import { LockstepError } from '../../model/errors.ts';
import type { ReadLevel } from '../core/levels.ts';
import type { KeyStore } from '../nodes/requests.ts';
import type { CollectionContext, ReadOptions } from './kind.ts';

export interface WatchOptions extends ReadOptions<ReadLevel> {
  /** How often servers are asked whether the key was changed. Default 250 ms. */
  readonly everyMs?: number;
  /** Ends the watch. */
  readonly signal?: AbortSignal;
}

export interface Watched<G> {
  readonly store: KeyStore;
  readonly key: string;
  readonly read: () => Promise<G>;
}

const EVERY_MS = 250;
const LEAST_MS = 10;

/** See `ReadableCollection.watch`. */
export async function* watchKey<G extends { readonly version: string | number | null }>(
  context: CollectionContext,
  watched: Watched<G>,
  options: WatchOptions,
): AsyncGenerator<G, void, undefined> {
  const everyMs = Math.max(LEAST_MS, options.everyMs ?? EVERY_MS);
  const isOver = (): boolean => options.signal?.aborted === true || context.closing.aborted;
  let version: G['version'] | undefined;
  const marks = new Map<string, string>();
  while (!isOver()) {
    try {
      // Marks first: a change between the two is read, and looked at once more.
      if (await hasMoved(context, watched, options, marks)) {
        const answer = await watched.read();
        if (answer.version !== version) {
          version = answer.version;
          yield answer;
        }
      }
    } catch (error) {
      if (!(error instanceof LockstepError) || error.code !== 'QUORUM_NOT_REACHED') throw error;
      // The next look reads, whatever the marks say.
      marks.clear();
    }
    if (!isOver()) await pause(context, everyMs, options.signal);
  }
}

/** Whether a server shows another mark than before. A majority is asked, so that what a quorum has is noticed. */
async function hasMoved(
  { replicas, collection, limits }: CollectionContext,
  { store, key }: Watched<unknown>,
  { level = 'quorum', deadlineMs = limits.deadlineMs }: WatchOptions,
  marks: Map<string, string>,
): Promise<boolean> {
  const answers = await replicas.ask({
    request: { kind: 'mark', collection, store, key },
    pick: (reply) => (reply.kind === 'mark' ? reply.mark : null),
    level,
    deadlineMs,
  });
  let hasChanged = false;
  for (const { node, answer } of answers) {
    hasChanged ||= marks.get(node.name) !== answer;
    marks.set(node.name, answer);
  }
  return hasChanged;
}

function pause({ runtime, closing }: CollectionContext, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      cancel();
      closing.removeEventListener('abort', finish);
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = runtime.after(ms, finish);
    closing.addEventListener('abort', finish, { once: true });
    signal?.addEventListener('abort', finish, { once: true });
  });
}

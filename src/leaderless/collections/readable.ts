import { LockstepError } from '../../model/errors.ts';
import { endOfPrefix, joinPages, nextKey } from '../core/key-range.ts';
import type { ReadLevel } from '../core/levels.ts';
import type { KeyStore } from '../nodes/requests.ts';
import { checkName } from './kind.ts';
import type { CollectionContext, ReadOptions } from './kind.ts';
import { watchKey } from './watch.ts';
import type { WatchOptions } from './watch.ts';

export interface ScanOptions extends ReadOptions<ReadLevel> {
  /** How many entries are read at once. Default 256, at most 1,000. */
  readonly pageSize?: number;
}

/** An entry of a scan: what `get` says of the key, and the key. */
export type Entry<G> = G & { readonly key: string };

interface Answer {
  readonly value: unknown;
  readonly version: string | number | null;
}

const MAX_MANY = 10_000;
const MAX_PAGE = 1_000;
const PAGE = 256;

/** What every kind of collection can do with its keys. `G` is what its `get` answers. */
export abstract class ReadableCollection<G extends Answer> {
  protected readonly context: CollectionContext;
  readonly #store: KeyStore;

  constructor(context: CollectionContext, store: KeyStore) {
    this.context = context;
    this.#store = store;
  }

  /** See the kind. */
  abstract get(key: string, options?: ReadOptions<ReadLevel>): Promise<G>;

  /** Whether an answer stands for a key that is there. */
  protected abstract isThere(answer: G): boolean;

  /**
   * Several keys at once, each as `get` reads it, in few statements. Keys that are not there are in the answer too. Throws
   * QUORUM_NOT_REACHED when one of them could not be read, VALUE_REFUSED for more than 10,000 keys.
   */
  async getMany(
    keys: readonly string[],
    options: ReadOptions<ReadLevel> = {},
  ): Promise<ReadonlyMap<string, G>> {
    const distinct = [...new Set(keys)];
    const answers = await forMany(
      distinct,
      (key) => key,
      (key) => this.get(key, options),
    );
    return new Map(distinct.map((key, index) => [key, answers[index] as G]));
  }

  /**
   * Every entry whose key starts with `prefix`, in the order of the keys' bytes. At `quorum`: what was acknowledged at `quorum` before
   * the scan began and stays is there; what is written meanwhile may be. Each entry is read for itself: this is no snapshot of
   * all. Throws QUORUM_NOT_REACHED.
   */
  async *scan(prefix = '', options: ScanOptions = {}): AsyncGenerator<Entry<G>, void, undefined> {
    if (prefix !== '') checkName('prefix', prefix);
    const limit = Math.min(MAX_PAGE, Math.max(1, Math.floor(options.pageSize ?? PAGE)));
    const to = endOfPrefix(prefix);
    let from = prefix;
    for (;;) {
      const page = await this.#keys(from, to, limit, options);
      const found = await this.getMany(page.keys, options);
      for (const [key, answer] of found) if (this.isThere(answer)) yield { ...answer, key };
      const last = page.keys.at(-1);
      if (page.isWhole || last === undefined) return;
      from = nextKey(last);
    }
  }

  /**
   * What the key holds now, and then each time it has changed; changes between two looks come as one. Servers are asked every
   * `everyMs` for a mark that costs no more than a read; those that do not answer are asked again. Ends with the loop's `break`,
   * with `signal`, and when the quorum is closed.
   */
  watch(key: string, options: WatchOptions = {}): AsyncGenerator<G, void, undefined> {
    checkName('key', key);
    const { context } = this;
    return watchKey(context, { store: this.#store, key, read: () => this.get(key, options) }, options);
  }

  async #keys(
    from: string,
    to: string | null,
    limit: number,
    options: ReadOptions<ReadLevel>,
  ): ReturnType<typeof askPage> {
    return askPage(this.context, { store: this.#store, from, to, limit }, options);
  }
}

async function askPage(
  { replicas, collection, limits }: CollectionContext,
  range: {
    readonly store: KeyStore;
    readonly from: string;
    readonly to: string | null;
    readonly limit: number;
  },
  { level = 'quorum', deadlineMs = limits.deadlineMs }: ReadOptions<ReadLevel>,
): Promise<ReturnType<typeof joinPages>> {
  const answers = await replicas.ask({
    request: { kind: 'keys', collection, ...range },
    pick: (reply) => (reply.kind === 'keys' ? reply : null),
    level,
    deadlineMs,
  });
  return joinPages(answers.map(({ answer }) => answer));
}

/**
 * The same call for many keys. When some fail, the error of the first is thrown, with the others' keys in `details.failedKeys`:
 * `not-applied` only when every one of them was and none succeeded.
 */
export async function forMany<T, R>(
  items: readonly T[],
  keyOf: (item: T) => string,
  call: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  if (items.length > MAX_MANY)
    throw new LockstepError('VALUE_REFUSED', `${items.length} keys at once; pass at most ${MAX_MANY}.`);
  const settled = await Promise.allSettled(items.map(call));
  const failed = settled.flatMap((result, index) =>
    result.status === 'rejected' ? [{ key: keyOf(items[index] as T), error: result.reason as unknown }] : [],
  );
  const [first] = failed;
  if (first === undefined) return settled.map((result) => (result as PromiseFulfilledResult<R>).value);
  if (!(first.error instanceof LockstepError)) throw first.error;
  const { code, message, retryable, details, cause } = first.error;
  const isWhole = failed.length === items.length;
  const isUntouched = failed.every(
    ({ error }) => error instanceof LockstepError && error.outcome === 'not-applied',
  );
  throw new LockstepError(code, `${failed.length} of ${items.length} keys failed; the first: ${message}`, {
    outcome: isWhole && isUntouched ? 'not-applied' : 'unknown',
    retryable,
    details: { ...details, failedKeys: failed.map(({ key }) => key) },
    cause,
  });
}

/** `lockstep/leaderless/unstorage`: a driver for unstorage over a last-write-wins collection. */
import type { LwwCollection } from '../collections/lww.ts';

/** What unstorage asks of a driver, as far as a collection has it. */
export interface QuorumDriver {
  readonly name: string;
  readonly options: { readonly base?: string };
  hasItem(key: string): Promise<boolean>;
  getItem(key: string): Promise<string | null>;
  getItems(items: readonly { readonly key: string }[]): Promise<{ key: string; value: string | null }[]>;
  setItem(key: string, value: string, options?: { readonly ttl?: number }): Promise<void>;
  setItems(items: readonly { readonly key: string; readonly value: string }[]): Promise<void>;
  getItemRaw(key: string): Promise<Uint8Array | null>;
  setItemRaw(key: string, value: Uint8Array | string): Promise<void>;
  removeItem(key: string): Promise<void>;
  getKeys(base?: string): Promise<string[]>;
  clear(base?: string): Promise<void>;
  dispose(): void;
}

/** Bytes are kept as text behind this mark. */
const BYTES = 'base64:';
const TEXT = 'text:';

/**
 * A driver for unstorage: `createStorage({ driver: quorumDriver(q.collection('assets', lww())) })`. `base` goes in front of each
 * key; `ttl` of a write is in seconds, as in unstorage's other drivers. Errors are those of the collection.
 */
export function quorumDriver(
  values: LwwCollection<string>,
  options: { readonly base?: string } = {},
): QuorumDriver {
  const base = options.base === undefined || options.base === '' ? '' : `${options.base}:`;
  const read = async (key: string): Promise<string | null> => (await values.get(base + key)).value ?? null;
  const keysOf = async (under: string): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of values.scan(base + under)) keys.push(key.slice(base.length));
    return keys;
  };
  return {
    name: 'lockstep',
    options,
    hasItem: async (key) => (await read(key)) !== null,
    getItem: async (key) => textOf(await read(key)),
    async getItems(items) {
      const found = await values.getMany(items.map(({ key }) => base + key));
      return items.map(({ key }) => ({ key, value: textOf(found.get(base + key)?.value ?? null) }));
    },
    async setItem(key, value, { ttl } = {}) {
      await values.put(base + key, TEXT + value, ttl === undefined ? {} : { ttl: ttl * 1_000 });
    },
    async setItems(items) {
      await values.putMany(items.map(({ key, value }) => [base + key, TEXT + value]));
    },
    async getItemRaw(key) {
      const kept = await read(key);
      if (kept === null) return null;
      return kept.startsWith(BYTES)
        ? Buffer.from(kept.slice(BYTES.length), 'base64')
        : Buffer.from(textOf(kept) ?? '');
    },
    async setItemRaw(key, value) {
      await values.put(base + key, BYTES + Buffer.from(value as Uint8Array).toString('base64'));
    },
    async removeItem(key) {
      await values.delete(base + key);
    },
    getKeys: (under = '') => keysOf(under),
    async clear(under = '') {
      for (const key of await keysOf(under)) await values.delete(base + key);
    },
    dispose: () => undefined,
  };
}

function textOf(kept: string | null): string | null {
  if (kept === null) return null;
  return kept.startsWith(BYTES)
    ? Buffer.from(kept.slice(BYTES.length), 'base64').toString()
    : kept.slice(TEXT.length);
}

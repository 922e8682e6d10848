/** `lockstep/leaderless/keyv`: a store for Keyv in a last-write-wins collection. */
import { EventEmitter } from 'node:events';
import type { LwwCollection } from '../collections/lww.ts';

interface KeyvEntry {
  readonly key: string;
  readonly value: unknown;
  readonly ttl?: number;
}

type Serialized = string | number | boolean | null | object;

/**
 * A store for Keyv: `new Keyv({ store: new KeyvQuorum(q.collection('cache', lww())) })`. The last write of a key stays, by hybrid
 * time; a `ttl` ends values at the servers too. Keyv puts its namespace in front of each key. Errors are those of the
 * collection.
 */
export class KeyvQuorum extends EventEmitter {
  readonly #values: LwwCollection<Serialized>;
  /** By its dialect Keyv knows that a store can be iterated. */
  readonly opts: { readonly dialect: string; readonly url: string } = { dialect: 'postgres', url: '' };
  /** Set by Keyv; what `clear` and `iterator` keep to. */
  namespace: string | undefined = undefined;

  constructor(values: LwwCollection<Serialized>) {
    super();
    this.#values = values;
  }

  async get<T>(key: string): Promise<T | undefined> {
    return (await this.#values.get(key)).value as T | undefined;
  }

  async getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]> {
    const found = await this.#values.getMany(keys);
    return keys.map((key) => found.get(key)?.value as T | undefined);
  }

  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    await this.#values.put(key, value as Serialized, lifeOf(ttl));
    return true;
  }

  async setMany(entries: readonly KeyvEntry[]): Promise<boolean[]> {
    await Promise.all(entries.map(({ key, value, ttl }) => this.set(key, value, ttl)));
    return entries.map(() => true);
  }

  /** Whether there was a value. */
  async delete(key: string): Promise<boolean> {
    const { value } = await this.#values.get(key);
    if (value === undefined) return false;
    await this.#values.delete(key);
    return true;
  }

  async deleteMany(keys: readonly string[]): Promise<boolean> {
    const deleted = await Promise.all(keys.map((key) => this.delete(key)));
    return deleted.every(Boolean);
  }

  async has(key: string): Promise<boolean> {
    return (await this.#values.get(key)).value !== undefined;
  }

  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    const found = await this.#values.getMany(keys);
    return keys.map((key) => found.get(key)?.value !== undefined);
  }

  /** Deletes the keys of the namespace, or all. */
  async clear(): Promise<void> {
    for await (const { key } of this.#values.scan(this.#prefix(this.namespace)))
      await this.#values.delete(key);
  }

  async *iterator<T>(namespace?: string): AsyncGenerator<[string, T], void, undefined> {
    for await (const { key, value } of this.#values.scan(this.#prefix(namespace))) yield [key, value as T];
  }

  #prefix(namespace: string | undefined): string {
    return namespace === undefined ? '' : `${namespace}:`;
  }
}

function lifeOf(ttl: number | undefined): { readonly ttl?: number } {
  return ttl === undefined || !(ttl >= 1) ? {} : { ttl };
}

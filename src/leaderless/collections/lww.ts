import { valueAt } from '../core/cells.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { checkName, encodeJson, encodeValue } from './kind.ts';
import type {
  CollectionContext,
  Got,
  Kind,
  ReadOptions,
  StandardSchema,
  WriteOptions,
  Written,
} from './kind.ts';
import { forMany, ReadableCollection } from './readable.ts';
import { gotOf, prolong, readFields, writeFields } from './registers.ts';
import type { LifeOptions, TtlOptions } from './ttl.ts';

/** Values of which the last write stays, by hybrid time. */
export class LwwCollection<T> extends ReadableCollection<Got<T | undefined>> {
  readonly #schema: StandardSchema<T> | undefined;

  constructor(context: CollectionContext, schema?: StandardSchema<T>) {
    super(context, 'registers');
    this.#schema = schema;
  }

  /**
   * Replaces the value. Throws QUORUM_NOT_REACHED (see its `outcome`), VALUE_REFUSED, CLOCK_SKEW. A later write by a process
   * whose clock is behind may lose against this one.
   */
  async put(key: string, value: T, options: LifeOptions = {}): Promise<Written> {
    checkName('key', key);
    const { maxValueBytes } = this.context.limits;
    // Without a promise where nothing is waited for: each costs about what the rest of the call does.
    const text =
      this.#schema === undefined
        ? encodeJson(value, maxValueBytes)
        : await encodeValue(value, this.#schema, maxValueBytes);
    return await writeFields(this.context, key, [{ field: '', value: text }], options);
  }

  /**
   * Several values at once, in few statements; each key is written for itself. Throws as `put` does, with the keys that failed in
   * `details.failedKeys`.
   */
  async putMany(
    entries: Iterable<readonly [key: string, value: T]>,
    options: LifeOptions = {},
  ): Promise<ReadonlyMap<string, Written>> {
    const distinct = [...new Map(entries)];
    const written = await forMany(
      distinct,
      ([key]) => key,
      ([key, value]) => this.put(key, value, options),
    );
    return new Map(distinct.map(([key], index) => [key, written[index] as Written]));
  }

  /** The value, undefined when there is none. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<T | undefined>> {
    const { registers, result } = await readFields(this.context, key, options);
    const [register] = registers;
    const text = register === undefined ? null : valueAt(register, this.context.runtime.nowMs());
    return gotOf(text === null ? undefined : (JSON.parse(text) as T), registers, result);
  }

  /** Takes the value away; a write that is later stays. */
  async delete(key: string, options: WriteOptions<WriteLevel> = {}): Promise<Written> {
    checkName('key', key);
    return writeFields(this.context, key, [{ field: '', value: null }], options);
  }

  /** Lets a value with a `ttl` live on from now. Returns whether a read at this level saw one. Throws QUORUM_NOT_REACHED. */
  async touch(key: string, options: LifeOptions = {}): Promise<boolean> {
    return prolong(this.context, key, options);
  }

  protected override isThere({ value }: Got<T | undefined>): boolean {
    return value !== undefined;
  }
}

/** A collection of values of which the last write stays. `schema` checks what is written. */
export function lww<T>(schema?: StandardSchema<T>): Kind<LwwCollection<T>, TtlOptions> {
  return { kind: 'lww', open: (context) => new LwwCollection<T>(context, schema) };
}

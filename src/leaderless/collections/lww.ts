import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { checkName, encodeValue } from './kind.ts';
import type {
  CollectionContext,
  Got,
  Kind,
  ReadOptions,
  StandardSchema,
  WriteOptions,
  Written,
} from './kind.ts';
import { gotOf, readFields, writeFields } from './registers.ts';

/** Values of which the last write stays, by hybrid time. */
export class LwwCollection<T> {
  readonly #context: CollectionContext;
  readonly #schema: StandardSchema<T> | undefined;

  constructor(context: CollectionContext, schema?: StandardSchema<T>) {
    this.#context = context;
    this.#schema = schema;
  }

  /**
   * Replaces the value. Throws QUORUM_NOT_REACHED (see its `outcome`), VALUE_REFUSED, CLOCK_SKEW. A later write by a process
   * whose clock is behind may lose against this one.
   */
  async put(key: string, value: T, options: WriteOptions<WriteLevel> = {}): Promise<Written> {
    checkName('key', key);
    const text = await encodeValue(value, this.#schema, this.#context.limits.maxValueBytes);
    return writeFields(this.#context, key, [{ field: '', value: text }], options);
  }

  /** The value, undefined when there is none. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<T | undefined>> {
    const { registers, result } = await readFields(this.#context, key, options);
    const text = registers[0]?.value ?? null;
    return gotOf(text === null ? undefined : (JSON.parse(text) as T), registers, result);
  }

  /** Takes the value away; a write that is later stays. */
  async delete(key: string, options: WriteOptions<WriteLevel> = {}): Promise<Written> {
    checkName('key', key);
    return writeFields(this.#context, key, [{ field: '', value: null }], options);
  }
}

/** A collection of values of which the last write stays. `schema` checks what is written. */
export function lww<T>(schema?: StandardSchema<T>): Kind<LwwCollection<T>> {
  return { kind: 'lww', open: (context) => new LwwCollection<T>(context, schema) };
}

import { valueAt } from '../core/cells.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { checkName, encodeValue, refusal } from './kind.ts';
import type {
  CollectionContext,
  Got,
  Kind,
  ReadOptions,
  StandardSchema,
  WriteOptions,
  Written,
} from './kind.ts';
import { ReadableCollection } from './readable.ts';
import { gotOf, prolong, readFields, writeFields } from './registers.ts';
import type { LifeOptions, TtlOptions } from './ttl.ts';

/** A validator for each field that has one. */
export type FieldSchemas<T> = { readonly [F in keyof T]?: StandardSchema<T[F]> };

/** Objects whose fields are written and merged one by one. */
export class MapCollection<T extends object> extends ReadableCollection<Got<Partial<T> | undefined>> {
  readonly #schemas: ReadonlyMap<string, StandardSchema<unknown>>;

  constructor(context: CollectionContext, schemas: FieldSchemas<T> = {}) {
    super(context, 'registers');
    this.#schemas = new Map(Object.entries(schemas) as [string, StandardSchema<unknown>][]);
  }

  /**
   * Writes the fields of `patch`, all or none at each server, and leaves the others alone; undefined takes a field away. Throws
   * QUORUM_NOT_REACHED (see its `outcome`), VALUE_REFUSED, CLOCK_SKEW.
   */
  async set(key: string, patch: Partial<T>, options: LifeOptions = {}): Promise<Written> {
    checkName('key', key);
    const { maxValueBytes } = this.context.limits;
    const fields = await Promise.all(
      Object.entries(patch).map(async ([field, value]) => {
        checkName('field', field);
        const text =
          value === undefined ? null : await encodeValue(value, this.#schemas.get(field), maxValueBytes);
        return { field, value: text };
      }),
    );
    if (fields.length === 0) throw refusal('Nothing to set: the patch has no fields.');
    return writeFields(this.context, key, fields, options);
  }

  /** The object, undefined when it has no field. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<Partial<T> | undefined>> {
    const { registers, result } = await readFields(this.context, key, options);
    const nowMs = this.context.runtime.nowMs();
    const live = registers.flatMap((register) => {
      const text = valueAt(register, nowMs);
      return text === null ? [] : [[register.field, JSON.parse(text) as unknown] as const];
    });
    const value = live.length === 0 ? undefined : (Object.fromEntries(live) as Partial<T>);
    return gotOf(value, registers, result);
  }

  /** Takes away every field that a read at this level sees; one that is written meanwhile stays. */
  async delete(key: string, options: WriteOptions<WriteLevel> = {}): Promise<Written | null> {
    const { level = 'quorum' } = options;
    const { registers } = await readFields(this.context, key, {
      ...options,
      level: level === 'accept' ? 'one' : level,
    });
    const live = registers.filter(({ value }) => value !== null);
    if (live.length === 0) return null;
    return writeFields(
      this.context,
      key,
      live.map(({ field }) => ({ field, value: null })),
      options,
    );
  }

  /** Lets the fields that a read at this level sees live on from now, where the collection has a `ttl`. Returns whether there were any. */
  async touch(key: string, options: LifeOptions = {}): Promise<boolean> {
    return prolong(this.context, key, options);
  }

  protected override isThere({ value }: Got<Partial<T> | undefined>): boolean {
    return value !== undefined;
  }
}

/** A collection of objects whose fields are merged one by one, each as in `lww`. `schemas` check fields that are written. */
export function map<T extends object>(schemas?: FieldSchemas<T>): Kind<MapCollection<T>, TtlOptions> {
  return { kind: 'map', open: (context) => new MapCollection<T>(context, schemas) };
}

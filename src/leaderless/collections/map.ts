import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { checkName, encodeJson, refusal } from './kind.ts';
import type { CollectionContext, Got, Kind, ReadOptions, WriteOptions, Written } from './kind.ts';
import { gotOf, readFields, writeFields } from './registers.ts';

/** Objects whose fields are written and merged one by one. */
export class MapCollection<T extends object> {
  readonly #context: CollectionContext;

  constructor(context: CollectionContext) {
    this.#context = context;
  }

  /**
   * Writes the fields of `patch`, all or none at each server, and leaves the others alone; undefined takes a field away. Throws
   * QUORUM_NOT_REACHED (see its `outcome`), VALUE_REFUSED, CLOCK_SKEW.
   */
  async set(key: string, patch: Partial<T>, options: WriteOptions<WriteLevel> = {}): Promise<Written> {
    checkName('key', key);
    const { maxValueBytes } = this.#context.limits;
    const fields = Object.entries(patch).map(([field, value]) => {
      checkName('field', field);
      return { field, value: value === undefined ? null : encodeJson(value, maxValueBytes) };
    });
    if (fields.length === 0) throw refusal('Nothing to set: the patch has no fields.');
    return writeFields(this.#context, key, fields, options);
  }

  /** The object, undefined when it has no field. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<Partial<T> | undefined>> {
    const { registers, result } = await readFields(this.#context, key, options);
    const live = registers.flatMap(({ field, value }) => (value === null ? [] : [[field, value] as const]));
    const value =
      live.length === 0
        ? undefined
        : (Object.fromEntries(
            live.map(([field, text]) => [field, JSON.parse(text) as unknown]),
          ) as Partial<T>);
    return gotOf(value, registers, result);
  }

  /** Takes away every field that a read at this level sees; one that is written meanwhile stays. */
  async delete(key: string, options: WriteOptions<WriteLevel> = {}): Promise<Written | null> {
    const { level = 'quorum' } = options;
    const { registers } = await readFields(this.#context, key, {
      ...options,
      level: level === 'accept' ? 'one' : level,
    });
    const live = registers.filter(({ value }) => value !== null);
    if (live.length === 0) return null;
    return writeFields(
      this.#context,
      key,
      live.map(({ field }) => ({ field, value: null })),
      options,
    );
  }
}

/** A collection of objects whose fields are merged one by one, each as in `lww`. */
export function map<T extends object>(): Kind<MapCollection<T>> {
  return { kind: 'map', open: (context) => new MapCollection<T>(context) };
}

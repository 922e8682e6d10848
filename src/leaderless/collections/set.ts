import { takeOut } from '../core/cart.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { readSet, versionOfTallies } from '../core/tally-values.ts';
import { checkName, encodeJson, encodeValue, refusal } from './kind.ts';
import type { CollectionContext, Got, Kind, ReadOptions, StandardSchema, WriteOptions } from './kind.ts';
import { ReadableCollection } from './readable.ts';
import { parseOperation, raiseOwn, readLevelOf, readTallies, writeOwn, writeTallies } from './tallies.ts';
import type { AddOptions, TalliesWritten } from './tallies.ts';

const MAX_ELEMENT_BYTES = 1_024;
const MAX_ELEMENTS = 1_000;

/** Sets: an element that somebody adds while another takes it out stays. */
export class SetCollection<T extends string | number> extends ReadableCollection<Got<readonly T[]>> {
  readonly #schema: StandardSchema<T> | undefined;

  constructor(context: CollectionContext, schema?: StandardSchema<T>) {
    super(context, 'tallies');
    this.#schema = schema;
  }

  /**
   * Puts elements in, without reading first, all or none at each server. Throws QUORUM_NOT_REACHED; when its `outcome` is
   * `unknown`, calling again is safe. Throws VALUE_REFUSED.
   */
  async add(key: string, elements: T | readonly T[], options: AddOptions = {}): Promise<TalliesWritten> {
    checkName('key', key);
    const items = await this.#itemsOf(elements);
    if (options.operation !== undefined)
      return writeTallies(this.context, parseOperation(options.operation, this.context, key, items), options);
    const own = items.map((item) => raiseOwn(this.context, key, item, 1));
    return writeOwn(this.context, own, own, options);
  }

  /** Takes elements out, as far as a read at this level sees them. */
  async remove(
    key: string,
    elements: T | readonly T[],
    options: WriteOptions<WriteLevel> = {},
  ): Promise<TalliesWritten> {
    const items = await this.#itemsOf(elements);
    const { cells } = await readTallies(this.context, key, { ...options, level: readLevelOf(options) });
    const tallies = items.flatMap((item) => takeOut(cells, item));
    return writeTallies(this.context, tallies, options);
  }

  /** Takes everything out that a read at this level sees. */
  async clear(key: string, options: WriteOptions<WriteLevel> = {}): Promise<TalliesWritten> {
    const { cells } = await readTallies(this.context, key, { ...options, level: readLevelOf(options) });
    return writeTallies(this.context, takeOut(cells, null), options);
  }

  /** The elements, the one that was put in first before the others. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<readonly T[]>> {
    const { cells, answeredBy, repaired } = await readTallies(this.context, key, options);
    const value = readSet(cells).map((item) => JSON.parse(item) as T);
    return { value, version: versionOfTallies(cells), answeredBy, repaired };
  }

  /** Whether the element is in. Throws QUORUM_NOT_REACHED. */
  async has(key: string, element: T, options: ReadOptions<ReadLevel> = {}): Promise<boolean> {
    return (await this.get(key, options)).value.includes(element);
  }

  protected override isThere({ value }: Got<readonly T[]>): boolean {
    return value.length > 0;
  }

  async #itemsOf(elements: T | readonly T[]): Promise<readonly string[]> {
    const list: readonly T[] = typeof elements === 'object' ? elements : [elements];
    if (list.length === 0 || list.length > MAX_ELEMENTS)
      throw refusal(`${list.length} elements at once; pass 1 to ${MAX_ELEMENTS}.`);
    const items = await Promise.all(
      list.map(async (element) => {
        if (typeof element !== 'string' && !Number.isFinite(element))
          throw refusal(`${String(element)} is no element; pass texts or numbers.`);
        if (typeof element === 'string' && element.includes('\u0000'))
          throw refusal('An element holds no NUL.');
        return this.#schema === undefined
          ? encodeJson(element, MAX_ELEMENT_BYTES)
          : encodeValue(element, this.#schema, MAX_ELEMENT_BYTES);
      }),
    );
    return [...new Set(items)];
  }
}

/** A collection of add-wins sets of texts or numbers. `schema` checks what is added. */
export function set<T extends string | number>(schema?: StandardSchema<T>): Kind<SetCollection<T>> {
  return { kind: 'set', open: (context) => new SetCollection<T>(context, schema) };
}

import { isTooFarAhead } from '../core/hlc.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { dotsOf, readSiblings } from '../core/siblings.ts';
import type { SeenDots } from '../core/siblings.ts';
import { valueAt } from '../core/cells.ts';
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
import { gotOf, readFields, writeFields } from './registers.ts';
import type { LifeOptions, TtlOptions } from './ttl.ts';

/** What a read saw, for the write that replaces it. Text, so that it may travel to a browser and back. */
export type SiblingsContext = string & { readonly __brand: 'SiblingsContext' };

export interface GotSiblings<T> extends Got<readonly T[]> {
  /** For a write that replaces these values; null when there are none. */
  readonly context: SiblingsContext | null;
  /** More than 25 values stand beside each other: whoever writes them does not replace what it reads. */
  readonly isCrowded: boolean;
}

export interface ReplaceOptions extends LifeOptions {
  /** What this write replaces, from a read; without it nothing is replaced. */
  readonly context?: SiblingsContext | null;
}

const CROWDED = 25;
const MOST = 100;

/** Values of which none is ever lost to another: writes that did not see each other stand beside each other. */
export class SiblingsCollection<T> extends ReadableCollection<GotSiblings<T>> {
  readonly #schema: StandardSchema<T> | undefined;
  #written = 0;

  constructor(context: CollectionContext, schema?: StandardSchema<T>) {
    super(context, 'registers');
    this.#schema = schema;
  }

  /**
   * Writes a value in place of those of `context`; what that read did not see stays beside it. Throws QUORUM_NOT_REACHED (see its
   * `outcome`; a call that is repeated may leave the value twice), VALUE_REFUSED, CLOCK_SKEW.
   */
  async put(key: string, value: T, options: ReplaceOptions = {}): Promise<Written> {
    checkName('key', key);
    const text = await encodeValue(value, this.#schema, this.context.limits.maxValueBytes);
    const { writer, runtime } = this.context;
    this.#written += 1;
    // Collections may be opened often in a process, so that a number alone could come twice.
    const dot = `${writer}.${runtime.uniqueName()}.${this.#written.toString(36)}`;
    return writeFields(
      this.context,
      key,
      [{ field: dot, value: text }, ...this.#tombstones(options.context)],
      options,
    );
  }

  /** All values that nobody replaced, the oldest first. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<GotSiblings<T>> {
    const { registers, result } = await readFields(this.context, key, options);
    const nowMs = this.context.runtime.nowMs();
    const siblings = readSiblings(registers, (register) => valueAt(register, nowMs));
    const value = siblings.map((register) => JSON.parse(register.value ?? 'null') as T);
    return {
      ...gotOf<readonly T[]>(value, registers, result),
      context: siblings.length === 0 ? null : formatContext(dotsOf(siblings)),
      isCrowded: siblings.length > CROWDED,
    };
  }

  /**
   * Reads, and writes what `merge` makes of the values in their place. Throws VALUE_REFUSED when more than 100 stand beside each
   * other, which `merge` should have ended before.
   */
  async resolve(
    key: string,
    merge: (values: readonly T[]) => T,
    options: WriteOptions<WriteLevel> = {},
  ): Promise<Written> {
    const { level = 'quorum' } = options;
    const seen = await this.get(key, { ...options, level: level === 'accept' ? 'one' : level });
    return this.put(key, merge(seen.value), { ...options, context: seen.context });
  }

  /** Takes away the values of `context`; without one, those that a read at this level sees. */
  async delete(key: string, options: ReplaceOptions = {}): Promise<Written | null> {
    const { level = 'quorum' } = options;
    const context =
      options.context ??
      (await this.get(key, { ...options, level: level === 'accept' ? 'one' : level })).context;
    const tombstones = this.#tombstones(context);
    return tombstones.length === 0 ? null : writeFields(this.context, key, tombstones, options);
  }

  protected override isThere({ value }: GotSiblings<T>): boolean {
    return value.length > 0;
  }

  #tombstones(
    context: SiblingsContext | null | undefined,
  ): { readonly field: string; readonly value: null }[] {
    if (context === null || context === undefined) return [];
    const { runtime, clock, maxClockAheadMs } = this.context;
    return parseContext(context).map(([field, at]) => {
      // Whoever made it up must not move this process's clock.
      if (isTooFarAhead(at, runtime.nowMs(), maxClockAheadMs))
        throw refusal('The context is from the future.');
      clock.observe(at);
      return { field, value: null };
    });
  }
}

/** A collection that keeps values which were written at once beside each other. `schema` checks what is written. */
export function siblings<T>(schema?: StandardSchema<T>): Kind<SiblingsCollection<T>, TtlOptions> {
  return { kind: 'siblings', open: (context) => new SiblingsCollection<T>(context, schema) };
}

function formatContext(dots: SeenDots): SiblingsContext {
  return JSON.stringify(dots) as SiblingsContext;
}

function parseContext(context: SiblingsContext): SeenDots {
  let parsed: unknown;
  try {
    parsed = JSON.parse(context);
  } catch {
    parsed = null;
  }
  if (!Array.isArray(parsed)) throw refusal('This is no context; pass the one of a read as it is.');
  if (parsed.length > MOST)
    throw refusal(
      `${parsed.length} values stand beside each other, more than ${MOST}; delete the key, or take some of them away.`,
    );
  return parsed.map((entry: unknown): readonly [string, number] => {
    const [field, at] = Array.isArray(entry) ? (entry as unknown[]) : [];
    checkName('context', field);
    if (!Number.isSafeInteger(at))
      throw refusal('This context was changed; pass the one of a read as it is.');
    return [field, at as number];
  });
}

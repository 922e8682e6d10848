import type { LockstepError } from '../../model/errors.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import type { SlotChange } from '../core/slot-batch.ts';
import type { CallEnd } from '../slots/slot.ts';
import { notReached } from '../not-reached.ts';
import { checkName, encodeValueAtOnce, refusal } from './kind.ts';
import type { CollectionContext, Kind, StandardSchema } from './kind.ts';
import { ReadableCollection } from './readable.ts';

/** A change whose end is not known, for `settle`. Text, so that it may be kept. */
export type CasOperation = string & { readonly __brand: 'CasOperation' };

export type CasResult<T> =
  | {
      readonly kind: 'applied';
      readonly value: T | undefined;
      readonly version: number;
      readonly answeredBy: readonly string[];
    }
  /** The condition did not hold; `value` is what stands instead. */
  | {
      readonly kind: 'not-applied';
      readonly value: T | undefined;
      readonly version: number;
      readonly answeredBy: readonly string[];
    }
  /** It may have been applied, or still be. `settle(operation)` ends that. */
  | { readonly kind: 'unknown'; readonly operation: CasOperation };

/** What a read says. */
export interface CasGot<T> {
  readonly value: T | undefined;
  /** Grows by one with each change, from a first number of any size; 0 was never written, or erased since. */
  readonly version: number;
  readonly answeredBy: readonly string[];
}

export interface CasOptions {
  /** After how many ms the call gives up. Default: `deadlineMs` of the quorum. */
  readonly deadlineMs?: number;
}

/** Values that change in one order that all see: linearizable for each key. There is no level to choose. */
export class CasCollection<T> extends ReadableCollection<CasGot<T>> {
  readonly #schema: StandardSchema<T> | undefined;

  constructor(context: CollectionContext, schema?: StandardSchema<T>) {
    super(context, 'slots');
    this.#schema = schema;
  }

  /** The value and its version, linearizable. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: CasOptions = {}): Promise<CasGot<T>> {
    checkName('key', key);
    const { slots, collection, limits, replicas } = this.context;
    const read = await slots.read(collection, key, options.deadlineMs ?? limits.deadlineMs);
    if ('kind' in read) throw tooFew(read, 'not-applied', replicas.quorum);
    return {
      value: decode(read.state.value) as T | undefined,
      version: read.state.version,
      answeredBy: read.answeredBy,
    };
  }

  /**
   * Replaces the value by what `change` makes of it; undefined leaves it alone (`not-applied`). `change` must be pure and quick: it
   * may run more than once, and counts once. Throws QUORUM_NOT_REACHED (`not-applied`) when too few servers answered
   * before anything was proposed, VALUE_REFUSED, and what `change` throws.
   */
  async update(
    key: string,
    change: (current: T | undefined, version: number) => T | undefined,
    options: CasOptions = {},
  ): Promise<CasResult<T>> {
    const { maxValueBytes } = this.context.limits;
    return this.#run(key, options, ({ value, version }) => {
      const next = change(decode(value) as T | undefined, version);
      return next === undefined ? undefined : encodeValueAtOnce(next, this.#schema, maxValueBytes);
    });
  }

  /** Writes the value where there is none. */
  async create(key: string, value: T, options: CasOptions = {}): Promise<CasResult<T>> {
    const text = encodeValueAtOnce(value, this.#schema, this.context.limits.maxValueBytes);
    return this.#run(key, options, (current) => (current.value === null ? text : undefined));
  }

  /** Replaces the value when it still has this version, as `get` or an earlier result told it. */
  async compareAndSet(
    key: string,
    version: number,
    value: T,
    options: CasOptions = {},
  ): Promise<CasResult<T>> {
    const text = encodeValueAtOnce(value, this.#schema, this.context.limits.maxValueBytes);
    return this.#run(key, options, (current) => (current.version === version ? text : undefined));
  }

  /** Takes the value away; with `version`, when it still has this one. The version goes on counting. */
  async delete(key: string, options: CasOptions & { readonly version?: number } = {}): Promise<CasResult<T>> {
    const { version } = options;
    return this.#run(key, options, (current) =>
      current.value === null || (version !== undefined && current.version !== version) ? undefined : null,
    );
  }

  /**
   * What became of a change that was `unknown`; afterwards it cannot be applied any more if it was not. `unknown` again when so much
   * has changed since that nobody can tell. Throws QUORUM_NOT_REACHED.
   */
  async settle(
    operation: CasOperation,
    options: CasOptions = {},
  ): Promise<'applied' | 'not-applied' | 'unknown'> {
    const { slots, collection, limits, replicas } = this.context;
    const { key, ballots } = parseOperation(operation, collection.name);
    const end = await slots.settle(collection, key, ballots, options.deadlineMs ?? limits.deadlineMs);
    if (typeof end === 'string') return end;
    throw tooFew(end, 'unknown', replicas.quorum);
  }

  protected override isThere({ value }: CasGot<T>): boolean {
    return value !== undefined;
  }

  async #run(key: string, options: CasOptions, change: SlotChange): Promise<CasResult<T>> {
    checkName('key', key);
    const { slots, collection, limits, replicas } = this.context;
    const end = await slots.change(collection, key, change, options.deadlineMs ?? limits.deadlineMs);
    switch (end.kind) {
      case 'not-reached':
        throw tooFew(end, 'not-applied', replicas.quorum);
      case 'unknown':
        return { kind: 'unknown', operation: formatOperation(collection.name, key, end.ballots) };
      case 'chosen': {
        const { result, answeredBy } = end;
        if (result.kind === 'not-applied' && 'thrown' in result) throw result.thrown;
        const { value, version } = result.state;
        return { kind: result.kind, value: decode(value) as T | undefined, version, answeredBy };
      }
    }
  }
}

/**
 * A collection of values that are changed by compare-and-set, through consensus. `schema` checks what is written, and must answer
 * without a promise.
 */
export function cas<T>(schema?: StandardSchema<T>): Kind<CasCollection<T>> {
  return { kind: 'cas', open: (context) => new CasCollection<T>(context, schema) };
}

function decode(text: string | null): unknown {
  return text === null ? undefined : JSON.parse(text);
}

function tooFew(end: CallEnd, outcome: 'not-applied' | 'unknown', needed: number): LockstepError {
  const failures = 'failures' in end ? end.failures : new Map<string, string>();
  const cause = end.kind === 'not-reached' ? end.cause : undefined;
  return notReached('compare-and-set', outcome, failures, [], needed, cause);
}

function formatOperation(collection: string, key: string, ballots: readonly Ballot[]): CasOperation {
  return JSON.stringify([
    collection,
    key,
    ballots.map(({ counter, proposer }) => [counter, proposer]),
  ]) as CasOperation;
}

function parseOperation(
  operation: CasOperation,
  collection: string,
): { readonly key: string; readonly ballots: readonly Ballot[] } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(operation);
  } catch {
    parsed = null;
  }
  const [name, key, ballots] = Array.isArray(parsed) ? (parsed as unknown[]) : [];
  if (name !== collection || typeof key !== 'string' || !Array.isArray(ballots) || ballots.length === 0)
    throw refusal(`This operation is not of the collection "${collection}"; pass result.operation as it is.`);
  return {
    key,
    ballots: ballots.map((entry: unknown) => {
      const [counter, proposer] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (!Number.isSafeInteger(counter) || typeof proposer !== 'string')
        throw refusal('This operation was changed; pass result.operation as it is.');
      return { counter: counter as number, proposer };
    }),
  };
}

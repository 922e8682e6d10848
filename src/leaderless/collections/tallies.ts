import { LockstepError } from '../../model/errors.ts';
import type { Tally } from '../core/cells.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import type { ReadResult } from '../replicas.ts';
import { checkName, refusal } from './kind.ts';
import type { CollectionContext, ReadOptions, WriteOptions } from './kind.ts';

/** An add that ended in doubt, to be sent again as it was: it counts once however often it arrives. */
export type AddOperation = string & { readonly __brand: 'AddOperation' };

export interface TalliesWritten {
  /** Servers that had it on disk when the call was done. */
  readonly answeredBy: readonly string[];
}

export interface AddOptions extends WriteOptions<WriteLevel> {
  /** From the details of the error of an earlier call: sends that one again, and nothing new. */
  readonly operation?: AddOperation;
}

/** This process's own tally of an item, raised by `quantity`. */
export function raiseOwn(
  { collection, clock, actors }: CollectionContext,
  key: string,
  item: string,
  quantity: number,
): Tally {
  const own = actors.raise(collection.name, key, item, quantity, () => clock.next());
  return { collection: collection.name, key, item, removed: 0, ...own };
}

/** Writes tallies among which `own` were raised by this process; an error with `unknown` has the `operation` to repeat it. */
export async function writeOwn(
  context: CollectionContext,
  tallies: readonly Tally[],
  own: readonly Tally[],
  options: WriteOptions<WriteLevel>,
): Promise<TalliesWritten> {
  try {
    return await writeTallies(context, tallies, options);
  } catch (error) {
    const alone = own.map((tally) => context.actors.forget(tally.collection, tally.key, tally.item, tally));
    if (!(error instanceof LockstepError) || (alone.every(Boolean) && error.outcome !== 'unknown'))
      throw error;
    const { code, message, retryable, details, cause } = error;
    throw new LockstepError(code, message, {
      outcome: 'unknown',
      retryable,
      details: { ...details, operation: formatOperation(own) },
      cause,
    });
  }
}

export function writeTallies(
  { replicas, collection, limits }: CollectionContext,
  tallies: readonly Tally[],
  options: WriteOptions<WriteLevel>,
): Promise<TalliesWritten> {
  const cells = tallies.map((tally) => ({ store: 'tallies' as const, ...tally }));
  const { level = 'quorum', deadlineMs = limits.deadlineMs } = options;
  return replicas.write(collection, cells, level, deadlineMs);
}

export function readTallies(
  { replicas, collection, limits }: CollectionContext,
  key: string,
  { level = 'quorum', deadlineMs = limits.deadlineMs }: ReadOptions<ReadLevel>,
): Promise<ReadResult> {
  checkName('key', key);
  return replicas.read(collection, 'tallies', key, level, deadlineMs);
}

/** The level at which a write looks first at what it changes. */
export function readLevelOf({ level = 'quorum' }: WriteOptions<WriteLevel>): ReadLevel {
  return level === 'accept' ? 'one' : level;
}

function formatOperation(tallies: readonly Tally[]): AddOperation {
  return JSON.stringify(
    tallies.map(({ item, actor, added, bornAt }) => [item, actor, added, bornAt]),
  ) as AddOperation;
}

/** The tallies of an operation. Throws VALUE_REFUSED when it is not of an add of these items. */
export function parseOperation(
  operation: AddOperation,
  { collection }: CollectionContext,
  key: string,
  items: readonly string[],
): readonly Tally[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(operation);
  } catch {
    parsed = null;
  }
  const entries = Array.isArray(parsed) ? (parsed as unknown[]) : [];
  const tallies = entries.map((entry): Tally | null => {
    const [item, actor, added, bornAt] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof item !== 'string' || typeof actor !== 'string' || !isCount(added) || !isCount(bornAt))
      return null;
    return { collection: collection.name, key, item, actor, added, removed: 0, bornAt };
  });
  const isWhole =
    tallies.length === items.length && items.every((item, index) => tallies[index]?.item === item);
  if (!isWhole)
    throw refusal('This operation is not of an add of the same; pass error.details.operation as it is.');
  return tallies.filter((tally) => tally !== null);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

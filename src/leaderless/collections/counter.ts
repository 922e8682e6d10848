import { takeOut } from '../core/cart.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { readCounter, versionOfTallies } from '../core/tally-values.ts';
import type { CounterSide } from '../core/tally-values.ts';
import { checkName, refusal } from './kind.ts';
import type { CollectionContext, Got, Kind, ReadOptions, WriteOptions } from './kind.ts';
import { ReadableCollection } from './readable.ts';
import { parseOperation, raiseOwn, readLevelOf, readTallies, writeOwn, writeTallies } from './tallies.ts';
import type { AddOptions, TalliesWritten } from './tallies.ts';

const MOST = 1_000_000_000;

/** Counters: each process keeps its own total, so that no two writes overwrite each other. */
export class CounterCollection extends ReadableCollection<Got<number>> {
  constructor(context: CollectionContext) {
    super(context, 'tallies');
  }

  /**
   * Adds a whole number, also a negative one, without reading first. Throws QUORUM_NOT_REACHED; when its `outcome` is `unknown`,
   * `details.operation` repeats just this add. Throws VALUE_REFUSED for 0 and for more than 1,000,000,000 at once.
   */
  async add(key: string, amount: number = 1, options: AddOptions = {}): Promise<TalliesWritten> {
    checkName('key', key);
    if (!Number.isInteger(amount) || amount === 0 || Math.abs(amount) > MOST)
      throw refusal(`${amount} is no amount; pass a whole number from -${MOST} to ${MOST} that is not 0.`);
    const side: CounterSide = amount > 0 ? 'up' : 'down';
    if (options.operation !== undefined)
      return writeTallies(
        this.context,
        parseOperation(options.operation, this.context, key, [side]),
        options,
      );
    const own = [raiseOwn(this.context, key, side, Math.abs(amount))];
    return writeOwn(this.context, own, own, options);
  }

  /** The sum of all that was added. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<number>> {
    const { cells, answeredBy, repaired } = await readTallies(this.context, key, options);
    return { value: readCounter(cells), version: versionOfTallies(cells), answeredBy, repaired };
  }

  /** Takes away what a read at this level sees; what is added meanwhile counts from 0. */
  async reset(key: string, options: WriteOptions<WriteLevel> = {}): Promise<TalliesWritten> {
    const { cells } = await readTallies(this.context, key, { ...options, level: readLevelOf(options) });
    return writeTallies(this.context, takeOut(cells, null), options);
  }

  protected override isThere({ version }: Got<number>): boolean {
    return version !== null;
  }
}

/** A collection of counters that go up and down. */
export function counter(): Kind<CounterCollection> {
  return { kind: 'counter', open: (context) => new CounterCollection(context) };
}

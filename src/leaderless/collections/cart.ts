import { bringTo, readCart, takeOut } from '../core/cart.ts';
import type { CartLine, Sku } from '../core/cart.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { versionOfTallies } from '../core/tally-values.ts';
import { checkName, encodeJson, refusal } from './kind.ts';
import type { CollectionContext, Got, Kind, ReadOptions, WriteOptions } from './kind.ts';
import { ReadableCollection } from './readable.ts';
import { parseOperation, raiseOwn, readLevelOf, readTallies, writeOwn, writeTallies } from './tallies.ts';
import type { AddOptions, TalliesWritten } from './tallies.ts';

const MAX_QUANTITY = 1_000_000;

/** Carts: adds add up, a removal takes out what it saw. */
export class CartCollection extends ReadableCollection<Got<readonly CartLine[]>> {
  constructor(context: CollectionContext) {
    super(context, 'tallies');
  }

  /**
   * Puts pieces in, without reading first. Throws QUORUM_NOT_REACHED; when its `outcome` is `unknown`, `details.operation` repeats
   * just this add. Throws VALUE_REFUSED for a quantity that is no whole number from 1 to 1,000,000.
   */
  async add(key: string, line: CartLine, options: AddOptions = {}): Promise<TalliesWritten> {
    checkName('key', key);
    checkQuantity(line.quantity, 1);
    const item = itemOf(line.sku);
    if (options.operation !== undefined)
      return writeTallies(
        this.context,
        parseOperation(options.operation, this.context, key, [item]),
        options,
      );
    const own = [raiseOwn(this.context, key, item, line.quantity)];
    return writeOwn(this.context, own, own, options);
  }

  /** Brings a line to `quantity` from what a read at this level sees; 0 takes it out. Adds made meanwhile come on top. */
  async set(
    key: string,
    sku: Sku,
    quantity: number,
    options: WriteOptions<WriteLevel> = {},
  ): Promise<TalliesWritten> {
    checkQuantity(quantity, 0);
    const item = itemOf(sku);
    const { cells } = await readTallies(this.context, key, { ...options, level: readLevelOf(options) });
    const { tallies, missing } = bringTo(cells, item, quantity);
    if (missing === 0) return writeTallies(this.context, tallies, options);
    const own = [raiseOwn(this.context, key, item, missing)];
    return writeOwn(this.context, [...tallies, ...own], own, options);
  }

  /** Takes a line out, as far as a read at this level sees it. */
  async remove(key: string, sku: Sku, options: WriteOptions<WriteLevel> = {}): Promise<TalliesWritten> {
    return this.set(key, sku, 0, options);
  }

  /** Takes everything out that a read at this level sees. */
  async clear(key: string, options: WriteOptions<WriteLevel> = {}): Promise<TalliesWritten> {
    const { cells } = await readTallies(this.context, key, { ...options, level: readLevelOf(options) });
    return writeTallies(this.context, takeOut(cells, null), options);
  }

  /** The lines, the one that was put in first before the others. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<readonly CartLine[]>> {
    const { cells, answeredBy, repaired } = await readTallies(this.context, key, options);
    return { value: readCart(cells), version: versionOfTallies(cells), answeredBy, repaired };
  }

  protected override isThere({ value }: Got<readonly CartLine[]>): boolean {
    return value.length > 0;
  }
}

/** A collection of carts. */
export function cart(): Kind<CartCollection> {
  return { kind: 'cart', open: (context) => new CartCollection(context) };
}

function itemOf(sku: Sku): string {
  if (typeof sku === 'string') checkName('sku', sku);
  else if (!Number.isFinite(sku)) throw refusal(`${String(sku)} is no sku; pass a text or a number.`);
  return encodeJson(sku, 2_048);
}

function checkQuantity(quantity: number, least: number): void {
  if (!Number.isInteger(quantity) || quantity < least || quantity > MAX_QUANTITY)
    throw refusal(`${quantity} is no quantity; pass a whole number from ${least} to ${MAX_QUANTITY}.`);
}

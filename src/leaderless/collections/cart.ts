import { LockstepError } from '../../model/errors.ts';
import { bringTo, readCart, takeOut } from '../core/cart.ts';
import type { CartLine, Sku } from '../core/cart.ts';
import type { CellMap, Tally } from '../core/cells.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import { msOfHlc } from '../core/hlc.ts';
import type { ReadResult } from '../replicas.ts';
import { checkName, encodeJson, refusal } from './kind.ts';
import type { CollectionContext, Got, Kind, ReadOptions, WriteOptions } from './kind.ts';

/** An add that ended in doubt, to be sent again as it was: it counts once however often it arrives. */
export type CartOperation = string & { readonly __brand: 'CartOperation' };

export interface CartWritten {
  /** Servers that had it on disk when the call was done. */
  readonly answeredBy: readonly string[];
}

export interface AddOptions extends WriteOptions<WriteLevel> {
  /** From the details of the error of an earlier call: sends that one again, and nothing new. */
  readonly operation?: CartOperation;
}

const MAX_QUANTITY = 1_000_000;

/** Carts: adds add up, a removal takes out what it saw. */
export class CartCollection {
  readonly #context: CollectionContext;

  constructor(context: CollectionContext) {
    this.#context = context;
  }

  /**
   * Puts pieces in, without reading first. Throws QUORUM_NOT_REACHED; when its `outcome` is `unknown`, `details.operation` repeats
   * just this add. Throws VALUE_REFUSED for a quantity that is no whole number from 1 to 1,000,000.
   */
  async add(key: string, line: CartLine, options: AddOptions = {}): Promise<CartWritten> {
    checkName('key', key);
    checkQuantity(line.quantity, 1);
    const item = itemOf(line.sku);
    if (options.operation !== undefined)
      return this.#write(
        [{ ...parseOperation(options.operation, key, item), collection: this.#context.collection.name }],
        options,
      );
    const tally = this.#raise(key, item, line.quantity);
    return this.#writeOwn([tally], tally, options);
  }

  /** Brings a line to `quantity` from what a read at this level sees; 0 takes it out. Adds made meanwhile come on top. */
  async set(
    key: string,
    sku: Sku,
    quantity: number,
    options: WriteOptions<WriteLevel> = {},
  ): Promise<CartWritten> {
    checkQuantity(quantity, 0);
    const item = itemOf(sku);
    const { cells } = await this.#read(key, readLevelOf(options), options.deadlineMs);
    const { tallies, missing } = bringTo(cells, item, quantity);
    if (missing === 0) return this.#write(tallies, options);
    const own = this.#raise(key, item, missing);
    return this.#writeOwn([...tallies, own], own, options);
  }

  /** Takes a line out, as far as a read at this level sees it. */
  async remove(key: string, sku: Sku, options: WriteOptions<WriteLevel> = {}): Promise<CartWritten> {
    return this.set(key, sku, 0, options);
  }

  /** Takes everything out that a read at this level sees. */
  async clear(key: string, options: WriteOptions<WriteLevel> = {}): Promise<CartWritten> {
    const { cells } = await this.#read(key, readLevelOf(options), options.deadlineMs);
    return this.#write(takeOut(cells, null), options);
  }

  /** The lines, the one that was put in first before the others. Throws QUORUM_NOT_REACHED. */
  async get(key: string, options: ReadOptions<ReadLevel> = {}): Promise<Got<readonly CartLine[]>> {
    const { cells, answeredBy, repaired } = await this.#read(
      key,
      options.level ?? 'quorum',
      options.deadlineMs,
    );
    return { value: readCart(cells), version: versionOf(cells), answeredBy, repaired };
  }

  #raise(key: string, item: string, quantity: number): Tally {
    const { collection, clock, actors } = this.#context;
    const own = actors.raise(collection.name, key, item, quantity, () => clock.next());
    return { collection: collection.name, key, item, removed: 0, ...own };
  }

  async #writeOwn(
    tallies: readonly Tally[],
    own: Tally,
    options: WriteOptions<WriteLevel>,
  ): Promise<CartWritten> {
    try {
      return await this.#write(tallies, options);
    } catch (error) {
      const isAlone = this.#context.actors.forget(own.collection, own.key, own.item, own);
      if (!(error instanceof LockstepError) || (isAlone && error.outcome !== 'unknown')) throw error;
      const { code, message, retryable, details, cause } = error;
      throw new LockstepError(code, message, {
        outcome: 'unknown',
        retryable,
        details: { ...details, operation: formatOperation(own) },
        cause,
      });
    }
  }

  #write(tallies: readonly Tally[], options: WriteOptions<WriteLevel>): Promise<CartWritten> {
    const { replicas, collection, limits } = this.#context;
    const cells = tallies.map((tally) => ({ store: 'tallies' as const, ...tally }));
    return replicas.write(
      collection,
      cells,
      options.level ?? 'quorum',
      options.deadlineMs ?? limits.deadlineMs,
    );
  }

  #read(key: string, level: ReadLevel, deadlineMs: number | undefined): Promise<ReadResult> {
    checkName('key', key);
    const { replicas, collection, limits } = this.#context;
    return replicas.read(collection, 'tallies', key, level, deadlineMs ?? limits.deadlineMs);
  }
}

/** A collection of carts. */
export function cart(): Kind<CartCollection> {
  return { kind: 'cart', open: (context) => new CartCollection(context) };
}

function readLevelOf({ level = 'quorum' }: WriteOptions<WriteLevel>): ReadLevel {
  return level === 'accept' ? 'one' : level;
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

/** How much of the cart was seen: the sum of all that was ever added and taken out grows with every change. */
function versionOf(cells: CellMap): string | null {
  if (cells.size === 0) return null;
  let changes = 0;
  let newest = 0;
  for (const cell of cells.values()) {
    if (cell.store !== 'tallies') continue;
    changes += cell.added + cell.removed;
    newest = Math.max(newest, msOfHlc(cell.bornAt));
  }
  return `${changes}.${newest}`;
}

function formatOperation({ item, actor, added, bornAt }: Tally): CartOperation {
  return JSON.stringify([item, actor, added, bornAt]) as CartOperation;
}

function parseOperation(operation: CartOperation, key: string, item: string): Omit<Tally, 'collection'> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(operation);
  } catch {
    parsed = null;
  }
  const [ofItem, actor, added, bornAt] = Array.isArray(parsed) ? (parsed as unknown[]) : [];
  if (
    ofItem !== item ||
    typeof actor !== 'string' ||
    !Number.isSafeInteger(added) ||
    !Number.isSafeInteger(bornAt)
  )
    throw refusal('This operation is not of an add of this sku; pass error.details.operation as it is.');
  return { key, item, actor, added: added as number, removed: 0, bornAt: bornAt as number };
}

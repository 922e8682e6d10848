import { cart, LockstepError, lww } from '../../../src/leaderless/index.ts';
import type { AddOperation, Quorum } from '../../../src/leaderless/index.ts';

/** One way to keep carts: how a piece is added, and what a cart holds in the end. */
export interface Way {
  readonly name: string;
  /** Resolves when it is acknowledged; throws when it is not. */
  add(cartId: string, product: number): Promise<void>;
  read(cartId: string): Promise<ReadonlyMap<number, number>>;
}

/** As long as a server is away, a call may be refused: so often it is tried again. */
const TRIES = 40;
const PAUSE_MS = 100;

async function repeat<T>(call: (error: unknown) => Promise<T>): Promise<T> {
  let error: unknown = null;
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      return await call(error);
    } catch (reason) {
      if (!(reason instanceof LockstepError) || !reason.retryable) throw reason;
      error = reason;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
  throw error;
}

/** The kind that is made for it. An add in doubt is repeated with its operation, so that it counts once. */
export function cartWay(opened: Quorum): Way {
  const carts = opened.collection('carts', cart());
  return {
    name: 'cart',
    async add(cartId, product) {
      await repeat((error) => {
        const operation = operationOf(error);
        return carts.add(
          cartId,
          { sku: product, quantity: 1 },
          { level: 'accept', ...(operation === null ? {} : { operation }) },
        );
      });
    },
    async read(cartId) {
      const { value } = await repeat(() => carts.get(cartId, { level: 'all' }));
      return new Map(value.map(({ sku, quantity }) => [Number(sku), quantity]));
    },
  };
}

function operationOf(error: unknown): AddOperation | null {
  if (!(error instanceof LockstepError)) return null;
  const { operation } = error.details;
  return typeof operation === 'string' ? (operation as AddOperation) : null;
}

/** The cart as one value of which the last write stays, read, changed and written back: what people do without such a kind. */
export function lastWriteWay(opened: Quorum): Way {
  const carts = opened.collection('carts-as-values', lww<Record<string, number>>());
  return {
    name: 'last write wins',
    async add(cartId, product) {
      await repeat(async () => {
        const { value = {} } = await carts.get(cartId);
        await carts.put(cartId, { ...value, [product]: (value[product] ?? 0) + 1 });
      });
    },
    async read(cartId) {
      const { value = {} } = await repeat(() => carts.get(cartId, { level: 'all' }));
      return new Map(Object.entries(value).map(([product, quantity]) => [Number(product), quantity]));
    },
  };
}

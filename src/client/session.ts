import type { QueryConfig, QueryResult } from 'pg';
import { withCallersFrame } from './app/failures.ts';
import { readStatement, refuseOptionsBeside } from './statement/queryable.ts';
import type { Queryable } from './statement/queryable.ts';
import { holdWrite } from './session/session-state.ts';
import type { SessionState } from './session/session-state.ts';
import type { SessionTokens } from './session/session-tokens.ts';
import { runBatch, runStatement, runTransaction } from './transaction/transaction.ts';
import type { TransactionContext } from './transaction/active-transaction.ts';
import type { Batch, BatchResults, Transaction, TransactionOptions } from './transaction/transaction.ts';

/**
 * Reads its own writes and never goes back in time, whichever servers answer: each answer moves `token`
 * on, and a follower answers only when it is at or past it.
 */
export interface Session extends Queryable {
  /**
   * What this session has seen, as a short string for a cookie or header: `pool.session({ token })` in
   * another process goes on from there. Null before anything was seen. Signed when the pool has a
   * `tokenSecret`; unsigned it must not come from where somebody could write another.
   */
  readonly token: string | null;
  /** Whether a write of this session is under way, so that `token` may be about to move on. */
  readonly isWriting: boolean;
  /** Resolves when no write of this session is under way, well or not. */
  whenWritten(): Promise<void>;
  /** See {@link runTransaction}: the transaction's commit moves the token. */
  transaction<T>(fn: (transaction: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** See {@link runBatch}. */
  transaction<const Modes extends readonly unknown[]>(
    statements: Batch<Modes>,
    options?: TransactionOptions,
  ): Promise<BatchResults<Modes>>;
}

export function createSession(
  context: TransactionContext,
  state: SessionState,
  tokens: SessionTokens,
): Session {
  return {
    get token(): string | null {
      // Who asks once will ask again: from now on each read learns its position at once.
      state.asksAlong = true;
      const { handover } = state;
      return handover === null ? null : tokens.render(handover);
    },
    get isWriting(): boolean {
      return state.writes.isAny;
    },
    whenWritten: () => state.writes.whenNone(),
    query: createQuery(context, () => state, 'auto'),
    transaction: createTransaction(context, () => state),
  };
}

/** The two forms of `transaction`: a function, or statements known in advance. */
export function createTransaction(
  context: TransactionContext,
  sessionOf: () => SessionState | null,
): Session['transaction'] {
  const transaction = (
    work: ((transaction: Transaction) => Promise<unknown>) | readonly QueryConfig[],
    options: TransactionOptions = {},
  ): Promise<unknown> => {
    const session = sessionOf();
    const parts = { ...context, session };
    const done = context.runner.pending.hold(
      typeof work === 'function' ? runTransaction(parts, work, options) : runBatch(parts, work, options),
    );
    // What only reads may well go on while its answer is sent.
    return options.readOnly === true ? done : holdWrite(session, done);
  };
  return transaction as Session['transaction'];
}

/** A `query` that always takes one way, in the session that `sessionOf` tells, if any. */
export function createQuery(
  context: TransactionContext,
  sessionOf: () => SessionState | null,
  access: 'auto' | 'leader' | 'follower',
): Queryable['query'] {
  const query = (textOrConfig: unknown, values?: unknown, beside?: unknown): Promise<QueryResult> => {
    try {
      refuseOptionsBeside(beside);
      const statement = readStatement(textOrConfig, values);
      return withCallersFrame(runStatement(context, sessionOf(), access, statement));
    } catch (error) {
      return Promise.reject(error);
    }
  };
  // pg's overloads tell the rows' type by the config; here the rows pass through unseen.
  return query as Queryable['query'];
}

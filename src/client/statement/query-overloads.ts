import pg from 'pg';
import type { StatementOptions } from './queryable.ts';

/** What `query` takes beyond pg's own overloads, which stay as pg's types have them: a config with more in it. */
export interface OptionsInQuery {
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  query<R extends any[] = any[], I = any[]>(
    queryConfig: pg.QueryArrayConfig<I> & StatementOptions,
    values?: pg.QueryConfigValues<I>,
  ): Promise<pg.QueryArrayResult<R>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  query<R extends pg.QueryResultRow = any, I = any[]>(
    queryConfig: pg.QueryConfig<I> & StatementOptions,
  ): Promise<pg.QueryResult<R>>;
}

/** `pg.Pool` itself, typed for a subclass whose `query` takes StatementOptions. */
export const PgPool: {
  new (config?: pg.PoolConfig): pg.Pool & OptionsInQuery;
  readonly prototype: pg.Pool;
} = pg.Pool;

/** `pg.Client` itself, typed likewise. */
export const PgClient: {
  new (config?: string | pg.ClientConfig): pg.Client & OptionsInQuery;
  readonly prototype: pg.Client;
} = pg.Client;

type Query<T> = (
  this: T,
  textOrConfig: unknown,
  valuesOrCallback?: unknown,
  maybeCallback?: unknown,
) => unknown;

/**
 * Makes `query` a method, as if the class body had it: there, TypeScript would want all overloads written out
 * once more before the implementation.
 */
export function defineQuery<T>({ prototype }: { readonly prototype: T }, query: Query<T>): void {
  Object.defineProperty(prototype, 'query', { value: query, writable: true, configurable: true });
}

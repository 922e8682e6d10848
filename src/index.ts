export { connect, LockstepPool } from './client/pool.ts';
export type { ClientNode, ClientStats, ClientTopology } from './client/pool.ts';
export type { HostAddress, LockstepOptions } from './client/options.ts';
export type { Queryable } from './client/queryable.ts';
export type { Session } from './client/session.ts';
export type { Transaction, TransactionOptions } from './client/transaction.ts';
export type { Durability } from './model/durability.ts';
export { LockstepError } from './model/errors.ts';
export type { ErrorCode, Outcome } from './model/errors.ts';

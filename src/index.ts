export { connect, LockstepPool } from './client/pool.ts';
export { LockstepClient } from './client/lockstep-client.ts';
export type { NodeVerdict, RouteExplanation } from './client/route/core/explain.ts';
export type { ClientNode, ClientStats, ClientTopology } from './client/pool-view.ts';
export type { Log, StatementLogEntry } from './client/observe/exchange-observer.ts';
export type { Meter } from './client/app/meter.ts';
export type { ListenOptions, Notification, Subscription } from './client/cluster/notifications.ts';
export type { Consistency, HostAddress, LockstepOptions } from './client/app/options.ts';
export type { LockstepPoolOptions } from './client/single-server.ts';
export type { Queryable, StatementOptions } from './client/statement/queryable.ts';
export type { Session } from './client/session.ts';
export type {
  Batch,
  BatchResults,
  Transaction,
  TransactionOptions,
} from './client/transaction/transaction.ts';
export type { CommitWait } from './client/statement/durability.ts';
export type { Durability, DurabilityName } from './model/durability.ts';
export { LockstepError } from './model/errors.ts';
export type { ErrorCode, Outcome } from './model/errors.ts';
export { fastifySession, expressSession, nodeSession } from './client/web/node-session.ts';
export { honoSession, webSession } from './client/web/fetch-session.ts';
export type { SessionCookieOptions } from './client/web/session-cookies.ts';
export type { SessionOptions } from './client/sessions.ts';

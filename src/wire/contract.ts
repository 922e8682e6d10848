import type { EventEmitter } from 'node:events';
import type { PoolClient, QueryConfig } from 'pg';
import type { Clock } from '../model/clock.ts';
import type { NodeKey } from '../model/node.ts';
import type { OwnStatement, RowMessage } from './batch.ts';

/** What a connection is given to run, with what pg accepts beyond its types. */
export interface WireStatement extends QueryConfig<unknown[]> {
  readonly rowMode?: 'array' | undefined;
  readonly query_timeout?: number | undefined;
}

/**
 * What goes to the server in one flight. `before`, the statements and `after` share one Sync: when one of
 * them fails, the server skips the rest. `question` follows behind it, when their implicit transaction has
 * ended.
 */
export interface ExchangePlan {
  readonly statements: readonly WireStatement[];
  readonly before?: readonly OwnStatement[] | undefined;
  readonly after?: readonly OwnStatement[] | undefined;
  readonly question?: OwnStatement | undefined;
  /** For each statement, the name under which the connection prepares it, if any. */
  readonly preparedAs?: readonly (string | undefined)[] | undefined;
  /** Why the statements run on this server, for logs. */
  readonly reason?: string | undefined;
  /** Told of this flight, besides the lease's own. */
  readonly observer?: ExchangeObserver | undefined;
}

/** What came of an exchange. It never rejects: `error` says what failed, and where. */
export interface ExchangeReport {
  readonly error: Error | null;
  /** Which part failed; `statement` also when nothing did. */
  readonly failedIn: 'before' | 'statement' | 'after';
  /** Whether the failure may be one of an earlier preparation alone: nothing is applied, and it may run again. */
  readonly hasStalePlan: boolean;
  /** Whether anything was handed to the network. */
  readonly isSent: boolean;
  /** Whether the connection ended, or is of no further use, before the answer was whole. */
  readonly isBroken: boolean;
  /**
   * Whether the server ended the connection in order before any of the statements was done, so that none has an
   * effect unless it commits by itself, as CALL may. In the extended protocol a statement is done before its
   * transaction is committed, and the messages of a server come in order.
   */
  readonly isCutOffBefore: boolean;
  /** pg's results, one for each statement that was answered. */
  readonly results: readonly unknown[];
  /** The last row of the own statement with this name; null when it was not asked, or failed. */
  answerOf(name: string): RowMessage['fields'] | null;
  /** What the own statement with this name did, such as COMMIT; null when it was not reached. */
  commandOf(name: string): string | null;
  /** Whether the server gave up waiting for a follower: the commit is applied on the leader only. */
  readonly isSyncWaitCancelled: boolean;
}

/** A connection to one server, held until it is released. */
export interface Lease {
  readonly node: NodeKey;
  readonly client: PoolClient;
  /** What its times are told by. */
  readonly clock: Clock;
  /** Time at which the connection was ready. */
  readonly openedAtMs: number;
  /** Since when a transaction that begins on it only reads unless it says otherwise; null while it writes. */
  readonly readOnlySinceMs: number | null;
  /** Whether the server said that it gave up waiting for a follower since this was last set to false. */
  isSyncWaitCancelled: boolean;
  /** Told of what was sent over it; null where nobody wants to know. */
  readonly observer: ExchangeObserver | null;
  /** How many named statements were prepared on it, or more. */
  preparedCount: number;
  /** Gives the connection back; with an error or true it is closed instead. */
  release(error?: Error | boolean): void;
}

/** How many connections there are to one server. */
export interface ConnectionCount {
  readonly node: NodeKey;
  readonly total: number;
  readonly idle: number;
}

/** What the pool of all servers is told about their connections. */
export interface ConnectionEvents {
  /** Where `connect`, `remove` and `error` are told. */
  readonly emitter: EventEmitter;
  readonly observer: ExchangeObserver | null;
  readonly clock: Clock;
  /** A live connection's server has become leader or follower, or lets new transactions only read, or write again. */
  roleChanged(node: NodeKey): void;
}

/** Told of each flight to a server when it has ended. */
export interface ExchangeObserver {
  exchanged(node: NodeKey, plan: ExchangePlan, report: ExchangeReport, tookMs: number): void;
}

import pg from 'pg';
import type { PoolClient, PoolConfig } from 'pg';
import type { Clock } from '../model/clock.ts';
import type { NodeKey } from '../model/node.ts';
import type { ExchangeObserver } from '../wire/contract.ts';
import { AUTH_METHODS } from '../wire/core/auth-guard.ts';
import { lookupAll } from './cluster/members.ts';
import type { LeaseSource } from './cluster/lease-source.ts';
import { isCancelledSyncWait } from '../wire/connections.ts';
import type { NoticeMessage } from '../wire/connections.ts';
import type { Lease } from '../wire/contract.ts';
import { OWN_OPTIONS, resolveOptions } from './resolve-options.ts';
import type { LockstepOptions, ResolvedOptions } from './app/options.ts';

/** What `new LockstepPool()` takes: everything that `pg.Pool` takes, and Lockstep's own options. */
export type LockstepPoolOptions = PoolConfig & Omit<LockstepOptions, keyof PoolConfig>;

const SEVERAL_HOSTS = /^\w+:\/\/(?:[^/?]*@)?[^/?@]*,/;

/**
 * Without `hosts`, and with at most one host in the URL, the options are pg's: they reach `pg.Pool` untouched,
 * and the server is the one it would use, by PGHOST and PGPORT where nothing is said.
 */
export function resolvePoolOptions(options: LockstepPoolOptions): ResolvedOptions {
  const { hosts, connectionString } = options;
  if (hosts !== undefined || SEVERAL_HOSTS.test(connectionString ?? '')) return resolveOptions(options);
  const { host, port, ...account } = readAsPg(options);
  const own = Object.fromEntries(Object.entries(options).filter(([name]) => OWN_OPTIONS.has(name)));
  return {
    ...resolveOptions({ ...own, hosts: [{ host, port }] }),
    // A name with several addresses still means one server to pg.
    lookup: async (name) => (await lookupAll(name)).slice(0, 1),
    connection: options,
    account,
    // As pg's own pool, which holds a server to nothing.
    requireAuth: AUTH_METHODS,
    isSingleServer: true,
  };
}

interface PgAccount extends PoolConfig {
  readonly host: string;
  readonly port: number;
}

/** Which server and account pg takes from a URL, from options, and from the environment. */
function readAsPg(options: LockstepPoolOptions): PgAccount {
  const { connectionString, host, port, user, password, database, ssl } = options;
  const given = { connectionString, host, port, user, password, database, ssl };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  const client = new pg.Client(Object.fromEntries(known));
  const account = {
    host: client.host,
    port: client.port,
    user: client.user,
    database: client.database,
    password: client.password,
    ssl: client.ssl,
    sslnegotiation: options.sslnegotiation,
    enableChannelBinding: options.enableChannelBinding,
    client_encoding: options.client_encoding,
  };
  return account as PgAccount;
}

/** Leases from `pg.Pool` itself, so that what Lockstep runs and what the app runs share its connections. */
export class SingleServerSource implements LeaseSource {
  /** pg's pool keeps to it itself. */
  readonly waitLimitMs: number = Number.POSITIVE_INFINITY;
  readonly holdsTransactions: boolean = false;
  readonly #connect: () => Promise<PoolClient>;
  readonly #observer: ExchangeObserver | null;
  readonly #clock: Clock;

  constructor(connect: () => Promise<PoolClient>, observer: ExchangeObserver | null, clock: Clock) {
    this.#connect = connect;
    this.#observer = observer;
    this.#clock = clock;
  }

  /** pg's pool knows no way to take a connection at once. */
  tryAcquire(): null {
    return null;
  }

  async acquire(node: NodeKey): Promise<Lease> {
    return new BorrowedLease(node, await this.#connect(), this.#observer, this.#clock);
  }

  release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void {
    lease.release(error ?? leavesState);
  }
}

/** A client of pg's pool, with what is remembered about it while it is lent. */
class BorrowedLease implements Lease {
  readonly node: NodeKey;
  readonly client: PoolClient;
  readonly observer: ExchangeObserver | null;
  readonly clock: Clock;
  readonly openedAtMs: number;
  readonly readOnlySinceMs = null;
  isSyncWaitCancelled = false;
  preparedCount = 0;

  constructor(node: NodeKey, client: PoolClient, observer: ExchangeObserver | null, clock: Clock) {
    this.clock = clock;
    this.openedAtMs = clock.nowMs();
    this.observer = observer;
    this.node = node;
    this.client = client;
    client.on('notice', this.#onNotice);
    client.on('error', ignore);
  }

  release(error?: Error | boolean): void {
    this.client.removeListener('notice', this.#onNotice);
    this.client.removeListener('error', ignore);
    this.client.release(error);
  }

  readonly #onNotice = (notice: NoticeMessage): void => {
    if (isCancelledSyncWait(notice)) this.isSyncWaitCancelled = true;
  };
}

/** A connection that breaks while in use fails its statement; the event must not end the process. */
function ignore(): void {}

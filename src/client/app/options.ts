import type { PoolConfig } from 'pg';
import type { AuthMethod } from '../../wire/core/auth-guard.ts';
import type { ChannelBinding } from '../../wire/core/channel-binding.ts';
import type { Clock } from '../../model/clock.ts';
import type { Durability, DurabilityLevels } from '../../model/durability.ts';
import type { Meter } from './meter.ts';

/** When a second follower is asked the same as a late first one. `p95`: when 95% of reads have been answered. */
export type HedgeDelay = number | 'p95';

/** A host and port that somebody named: the app in `hosts`, or an agent. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly zone: string | null;
  /** Share of reads in relation to other followers. */
  readonly weight: number;
}

/** All addresses of a name. Throws what the resolver throws. */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** Where PostgreSQL servers of the cluster are: an address, or a name for one or several. */
export interface HostAddress {
  readonly host: string;
  /** Default 5432. */
  readonly port?: number | undefined;
  /** Where it is, in any words; see the option `zone`. */
  readonly zone?: string | undefined;
  /** Its share of reads in relation to other followers; 0 serves none. Default 1. */
  readonly weight?: number | undefined;
}

/** What reads outside of sessions show: see {@link LockstepOptions.consistency}. */
export type Consistency = 'own-writes' | 'eventual';

/**
 * Options of {@link connect}: those of `pg.Pool` for every connection, the servers, and Lockstep's own
 * limits. `max` bounds the connections in use at once over all servers, and those open to each.
 */
export interface LockstepOptions extends Omit<
  PoolConfig,
  'Promise' | 'Client' | 'stream' | 'pipeline' | 'enableChannelBinding'
> {
  /** All servers of the cluster in any order; which one leads is found out. */
  readonly hosts?: readonly HostAddress[] | undefined;
  /**
   * What a read outside of sessions may miss. `own-writes`, the default: nothing that was acknowledged to this
   * pool before the read began, whoever wrote it. `eventual`: the newest commits, also this pool's own.
   */
  readonly consistency?: Consistency | undefined;
  /** How long an operation waits for a leader, or for a server at all, before NO_LEADER. Default 15000. */
  readonly failoverTimeoutMs?: number | undefined;
  /**
   * The app's own names for durabilities, such as `{ order: 'visible', review: 'async' }`, so that one place
   * says what each kind of write waits for. A built-in name cannot be given another meaning.
   */
  readonly durability?: Readonly<Record<string, Durability>> | undefined;
  /** An OpenTelemetry Meter that is told of connections, times and lag: see docs/observability.md. */
  readonly meter?: Meter | undefined;
  /** How long a commit waits for followers before DURABILITY_TIMEOUT; 0 waits for ever. Default 10000. */
  readonly durabilityTimeoutMs?: number | undefined;
  /** Followers further behind than this serve no reads. Default 16777216 (16 MiB). */
  readonly maxReadLagBytes?: number | undefined;
  /** How long a session's read waits on a follower for its data before it goes to the leader. Default 20. */
  readonly gateWaitMs?: number | undefined;
  /** How often every server is asked for its role and position. Default 250. */
  readonly probeIntervalMs?: number | undefined;
  /**
   * Signs sessions' tokens, so that they can go through a browser: 16 characters or more, kept for this
   * alone. Of several the first signs and all are accepted, so that a secret can be replaced.
   */
  readonly tokenSecret?: string | readonly string[] | undefined;
  /** A signed token older than this is refused, and its cookie ends. Default 3600000 (an hour). */
  readonly tokenMaxAgeMs?: number | undefined;
  /**
   * Followers that may miss what the leader had committed this long ago serve no reads. What is compared was
   * asked by the pool itself, at intervals of `probeIntervalMs`, so that less than twice that leaves hardly a
   * follower. Default 0: no limit.
   */
  readonly maxReadLagMs?: number | undefined;
  /** Statements that may wait for a connection before more are refused with POOL_SATURATED. Default 10000. */
  readonly maxWaiting?: number | undefined;
  /**
   * At its use of this number, a statement with parameters is prepared on the connections that run it, and
   * parsed and planned no more; 0 for never, as proxies without prepared statements need it. Default 5.
   */
  readonly prepareAfter?: number | undefined;
  /**
   * When a read outside of sessions has not been answered for so long, a copy goes to a second follower, and
   * the first answer counts; `p95`: for as long as 95% of reads take. Of a hundred reads at most five are
   * sent twice. Default: none is.
   */
  readonly hedgeAfterMs?: HedgeDelay | undefined;
  /**
   * How servers may authenticate, as libpq's `require_auth`: `scram-sha-256`, `md5`, `password` (in clear), `none`. A
   * server that goes another way gets no secret and is not used. Default: `scram-sha-256`, by which the server proves to
   * know the password too; where none is known, in the pass file either, also `none`. A server that only agents named is always held to SCRAM.
   */
  readonly requireAuth?: readonly AuthMethod[] | undefined;
  /**
   * Whether SCRAM is bound to the TLS connection, against who stands in between: `true` where the server offers
   * it, `'require'` always, and a server that does not, or has no TLS, is not used. Default false.
   */
  readonly enableChannelBinding?: ChannelBinding | undefined;
  /** The zone of this process: followers there are preferred for reads. */
  readonly zone?: string | undefined;
  /**
   * Whether followers that report no position (as Aurora's) may answer reads outside of sessions, however
   * far behind they are; `consistency` is then `eventual` unless given. Default false.
   */
  readonly allowUnknownLag?: boolean | undefined;
  /**
   * How long an `idempotencyKey` is remembered, at least; this client deletes older ones now and then.
   * 0 keeps them for ever. Default 604800000 (7 days).
   */
  readonly outcomeRetentionMs?: number | undefined;
}

/** Lockstep's own limits with their defaults filled in. */
export interface ClientLimits {
  readonly failoverTimeoutMs: number;
  readonly durabilityTimeoutMs: number;
  readonly maxReadLagBytes: number;
  readonly gateWaitMs: number;
  readonly probeIntervalMs: number;
  readonly outcomeRetentionMs: number;
  readonly tokenMaxAgeMs: number;
  /** 0 for no limit. */
  readonly maxReadLagMs: number;
  readonly maxWaiting: number;
  readonly prepareAfter: number;
}

export interface ResolvedOptions {
  readonly hosts: readonly Place[];
  readonly clock: Clock;
  /** How names are resolved. */
  readonly lookup: Lookup;
  readonly zone: string | null;
  readonly allowsUnknownLag: boolean;
  readonly consistency: Consistency;
  /** Null: no read is sent twice. */
  readonly hedgeAfterMs: HedgeDelay | null;
  /** How a server that the app named may authenticate. */
  readonly requireAuth: readonly AuthMethod[];
  /** What every connection needs, without host and port. */
  readonly connection: PoolConfig;
  /** Who the pool's own questions come from, where `connection` says it in a form that pg alone reads. */
  readonly account?: PoolConfig;
  readonly limits: ClientLimits;
  readonly meter: Meter | null;
  readonly durabilities: DurabilityLevels;
  /** Newest first; empty when tokens are not signed. */
  readonly tokenSecrets: readonly string[];
  /** Whether there is one server by the app's own word, and `connection` is all that pg needs for it. */
  readonly isSingleServer?: boolean;
}

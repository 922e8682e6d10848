import type { PoolConfig } from 'pg';
import { createDurabilityLevels } from '../model/durability.ts';
import type { Durability, DurabilityLevels } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { parseClusterUrl } from './cluster-url.ts';
import type { HedgeDelay } from './core/hedge.ts';
import type { Place } from './core/membership.ts';
import { lookupAll } from './members.ts';
import type { Lookup } from './members.ts';
import type { Meter } from './metrics.ts';
import { unknownName } from './unknown-name.ts';

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

/**
 * Options of {@link connect}: those of `pg.Pool` for every connection, the servers, and Lockstep's own
 * limits. `max` bounds the connections in use at once over all servers, and those open to each.
 */
export interface LockstepOptions extends Omit<PoolConfig, 'Promise' | 'Client' | 'stream' | 'pipeline'> {
  /** All servers of the cluster in any order; which one leads is found out. */
  readonly hosts?: readonly HostAddress[] | undefined;
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
  /** The zone of this process: followers there are preferred for reads. */
  readonly zone?: string | undefined;
  /**
   * Whether followers that report no position (as Aurora's) may answer reads outside of sessions, however
   * far behind they are. Default false.
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
  /** How names are resolved. */
  readonly lookup: Lookup;
  readonly zone: string | null;
  readonly allowsUnknownLag: boolean;
  /** Null: no read is sent twice. */
  readonly hedgeAfterMs: HedgeDelay | null;
  /** What every connection needs, without host and port. */
  readonly connection: PoolConfig;
  readonly limits: ClientLimits;
  readonly meter: Meter | null;
  readonly durabilities: DurabilityLevels;
  /** Newest first; empty when tokens are not signed. */
  readonly tokenSecrets: readonly string[];
  /** Whether there is one server by the app's own word, and `connection` is all that pg needs for it. */
  readonly isSingleServer?: boolean;
}

const DEFAULT_LIMITS: ClientLimits = {
  failoverTimeoutMs: 15_000,
  durabilityTimeoutMs: 10_000,
  maxReadLagBytes: 16 * 1024 * 1024,
  gateWaitMs: 20,
  probeIntervalMs: 250,
  outcomeRetentionMs: 7 * 24 * 3_600_000,
  tokenMaxAgeMs: 3_600_000,
  maxReadLagMs: 0,
  maxWaiting: 10_000,
  prepareAfter: 5,
};

const POOL_OPTIONS = new Set(
  `user database password port host connectionString keepAlive statement_timeout ssl enableChannelBinding
   sslnegotiation query_timeout lock_timeout keepAliveInitialDelayMillis idle_in_transaction_session_timeout
   application_name fallback_application_name connectionTimeoutMillis types options client_encoding max min
   idleTimeoutMillis log allowExitOnIdle maxUses maxLifetimeSeconds onConnect verify`.split(/\s+/),
);

/** Those that pg does not know. */
export const OWN_OPTIONS: ReadonlySet<string> = new Set([
  'hosts',
  'meter',
  'durability',
  'tokenSecret',
  'zone',
  'allowUnknownLag',
  'hedgeAfterMs',
  ...Object.keys(DEFAULT_LIMITS),
]);

/**
 * Checks a URL or options object. A URL names all servers: `postgresql://user:password@a:5432,b:5432/db`.
 * Throws CONFIG_INVALID for anything it does not know.
 */
export function resolveOptions(input: string | LockstepOptions): ResolvedOptions {
  const given: LockstepOptions = typeof input === 'string' ? { connectionString: input } : input;
  for (const name of Object.keys(given)) {
    if (!POOL_OPTIONS.has(name) && !OWN_OPTIONS.has(name))
      throw unknownName('option', name, [...POOL_OPTIONS, ...OWN_OPTIONS]);
  }
  const fromUrl = given.connectionString === undefined ? {} : parseClusterUrl(given.connectionString);
  const { hosts, connectionString, host, port, ...rest } = { ...fromUrl, ...withoutUndefined(given) };
  void connectionString;
  const connection: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(rest)) if (POOL_OPTIONS.has(name)) connection[name] = value;
  checkCount('max', rest.max, 1);
  if (given.hedgeAfterMs !== 'p95') checkCount('hedgeAfterMs', given.hedgeAfterMs, 0);
  return {
    hosts: resolveHosts(hosts, host, port),
    lookup: lookupAll,
    zone: given.zone ?? null,
    allowsUnknownLag: given.allowUnknownLag ?? false,
    hedgeAfterMs: given.hedgeAfterMs ?? null,
    connection: connection as PoolConfig,
    limits: resolveLimits(given),
    meter: given.meter ?? null,
    durabilities: createDurabilityLevels(given.durability ?? {}),
    tokenSecrets: resolveSecrets(given.tokenSecret),
  };
}

const LEAST_SECRET_CHARACTERS = 16;

function resolveSecrets(given: LockstepOptions['tokenSecret']): readonly string[] {
  if (given === undefined) return [];
  const secrets = typeof given === 'string' ? [given] : given;
  const areUsable =
    Array.isArray(secrets) &&
    secrets.length > 0 &&
    secrets.every((secret) => typeof secret === 'string' && secret.length >= LEAST_SECRET_CHARACTERS);
  if (areUsable) return [...secrets];
  throw new LockstepError(
    'CONFIG_INVALID',
    `"tokenSecret" is not usable; pass one random string of at least ${LEAST_SECRET_CHARACTERS} characters, or a list of such.`,
  );
}

function withoutUndefined(options: LockstepOptions): LockstepOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function resolveLimits(given: LockstepOptions): ClientLimits {
  const limits: Record<string, number> = { ...DEFAULT_LIMITS };
  for (const name of Object.keys(DEFAULT_LIMITS)) {
    const value = given[name as keyof ClientLimits];
    checkCount(name, value, name === 'probeIntervalMs' ? 10 : name === 'tokenMaxAgeMs' ? 1000 : 0);
    if (value !== undefined) limits[name] = value;
  }
  return limits as unknown as ClientLimits;
}

/** Throws CONFIG_INVALID for what is neither left out nor a whole number from `least`. */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= least)) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"${name}" is ${String(value)}; expected a whole number from ${least}.`,
    {
      details: { name, value },
    },
  );
}

function resolveHosts(
  hosts: readonly HostAddress[] | undefined,
  host: string | undefined,
  port: number | undefined,
): Place[] {
  const list = hosts ?? (host === undefined ? [] : [{ host, port: port ?? 5432 }]);
  if (!Array.isArray(list) || list.length === 0) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'No server is given; pass a URL like postgresql://user:password@a:5432,b:5432/db, or "hosts".',
    );
  }
  const resolved = list.map((entry: HostAddress) => checkHost(entry));
  const keys = new Set(resolved.map((entry) => `${entry.host}:${entry.port}`));
  if (keys.size === resolved.length) return resolved;
  throw new LockstepError(
    'CONFIG_INVALID',
    'A server is given twice in "hosts"; name each host and port once.',
  );
}

function checkHost(entry: HostAddress): Place {
  const { host, port = 5432, zone = null, weight = 1 } = entry;
  if (typeof host !== 'string' || host === '' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"hosts" has an entry with host "${String(host)}" and port ${String(port)}; expected a name and a port from 1 to 65535.`,
    );
  }
  if (!Number.isFinite(weight) || weight < 0) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"hosts" has an entry for ${host} with weight ${String(weight)}; expected a number from 0.`,
    );
  }
  return { host, port, zone, weight };
}

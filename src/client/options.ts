import type { PoolConfig } from 'pg';
import { LockstepError } from '../model/errors.ts';

/** One PostgreSQL server of the cluster. */
export interface HostAddress {
  readonly host: string;
  /** Default 5432. */
  readonly port?: number;
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
}

/** Lockstep's own limits with their defaults filled in. */
export interface ClientLimits {
  readonly failoverTimeoutMs: number;
  readonly durabilityTimeoutMs: number;
  readonly maxReadLagBytes: number;
  readonly gateWaitMs: number;
  readonly probeIntervalMs: number;
  readonly tokenMaxAgeMs: number;
}

export interface ResolvedOptions {
  readonly hosts: readonly Required<HostAddress>[];
  /** What every connection needs, without host and port. */
  readonly connection: PoolConfig;
  readonly limits: ClientLimits;
  /** Newest first; empty when tokens are not signed. */
  readonly tokenSecrets: readonly string[];
}

const DEFAULT_LIMITS: ClientLimits = {
  failoverTimeoutMs: 15_000,
  durabilityTimeoutMs: 10_000,
  maxReadLagBytes: 16 * 1024 * 1024,
  gateWaitMs: 20,
  probeIntervalMs: 250,
  tokenMaxAgeMs: 3_600_000,
};

const POOL_OPTIONS = new Set(
  `user database password port host connectionString keepAlive statement_timeout ssl enableChannelBinding
   sslnegotiation query_timeout lock_timeout keepAliveInitialDelayMillis idle_in_transaction_session_timeout
   application_name fallback_application_name connectionTimeoutMillis types options client_encoding max min
   idleTimeoutMillis log allowExitOnIdle maxUses maxLifetimeSeconds onConnect verify`.split(/\s+/),
);

const OWN_OPTIONS = new Set(['hosts', 'tokenSecret', ...Object.keys(DEFAULT_LIMITS)]);

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
  return {
    hosts: resolveHosts(hosts, host, port),
    connection: connection as PoolConfig,
    limits: resolveLimits(given),
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

function checkCount(name: string, value: number | undefined, least: number): void {
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
): Required<HostAddress>[] {
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

function checkHost(entry: HostAddress): Required<HostAddress> {
  const { host, port = 5432 } = entry;
  if (typeof host !== 'string' || host === '' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"hosts" has an entry with host "${String(host)}" and port ${String(port)}; expected a name and a port from 1 to 65535.`,
    );
  }
  return { host, port };
}

const CLUSTER_URL = /^postgres(?:ql)?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;

function parseClusterUrl(url: string): LockstepOptions {
  const match = CLUSTER_URL.exec(url);
  if (match === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'The URL is not one of a cluster; expected postgresql://user:password@host:port,host:port/database.',
    );
  }
  const [, credentials = '', authority = '', database = '', query = ''] = match;
  const colon = credentials.indexOf(':');
  const user = decode(colon < 0 ? credentials : credentials.slice(0, colon));
  const options: Record<string, unknown> = { hosts: authority.split(',').map(parseAuthority) };
  if (user !== '') options['user'] = user;
  if (colon >= 0) options['password'] = decode(credentials.slice(colon + 1));
  if (database !== '') options['database'] = decode(database);
  for (const [name, value] of new URLSearchParams(query))
    Object.assign(options, parseUrlParameter(name, value));
  return options as LockstepOptions;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new LockstepError('CONFIG_INVALID', 'The URL has a % that starts no escape; write it as %25.');
  }
}

function parseAuthority(text: string): HostAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  if (match === null || host === '') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${text}" in the URL is not a host with a port, like db1.example.com:5432.`,
    );
  }
  return match[3] === undefined ? { host: decode(host) } : { host: decode(host), port: Number(match[3]) };
}

const SSL_MODES: Readonly<Record<string, PoolConfig['ssl']>> = {
  disable: false,
  'no-verify': { rejectUnauthorized: false },
  'verify-ca': { checkServerIdentity: () => undefined },
  'verify-full': true,
};

const URL_PARAMETERS = ['application_name', 'options', 'connect_timeout', 'sslmode'];

function parseUrlParameter(name: string, value: string): LockstepOptions {
  switch (name) {
    case 'application_name':
      return { application_name: value };
    case 'options':
      return { options: value };
    case 'connect_timeout':
      return { connectionTimeoutMillis: Number(value) * 1000 };
    case 'sslmode': {
      if (Object.hasOwn(SSL_MODES, value)) return { ssl: SSL_MODES[value] };
      const modes = Object.keys(SSL_MODES).join(', ');
      throw new LockstepError(
        'CONFIG_INVALID',
        `sslmode "${value}" in the URL is not supported; use one of ${modes}, or the option "ssl".`,
      );
    }
    default:
      throw unknownName('URL parameter', name, URL_PARAMETERS);
  }
}

function unknownName(what: string, name: string, known: readonly string[]): LockstepError {
  const near = known.filter((candidate) => editDistance(candidate.toLowerCase(), name.toLowerCase()) <= 2);
  const remedy = near.length > 0 ? `did you mean "${near[0]}"?` : 'see docs/client.md for all of them.';
  return new LockstepError('CONFIG_INVALID', `"${name}" is not a known ${what}; ${remedy}`, {
    details: { name },
  });
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

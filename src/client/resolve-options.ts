import type { PoolConfig } from 'pg';
import { systemClock } from '../clock/system-clock.ts';
import { createDurabilityLevels } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { checkCount } from './app/checks.ts';
import { parseClusterUrl } from './cluster-url.ts';
import { AUTH_METHODS, SAFE_AUTH, SCRAM_ONLY } from '../wire/core/auth-guard.ts';
import type { AuthMethod } from '../wire/core/auth-guard.ts';
import type {
  Place,
  ClientLimits,
  Consistency,
  HostAddress,
  LockstepOptions,
  ResolvedOptions,
} from './app/options.ts';
import { lookupAll } from './cluster/members.ts';
import { unknownName } from './app/unknown-name.ts';

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
   poolSize binary idleTimeoutMillis log allowExitOnIdle maxUses maxLifetimeSeconds onConnect verify`.split(
    /\s+/,
  ),
);

/** Those that pg does not know. All of the type are here: one that compiles is not refused. */
const OWN = {
  hosts: true,
  meter: true,
  durability: true,
  tokenSecret: true,
  zone: true,
  allowUnknownLag: true,
  consistency: true,
  hedgeAfterMs: true,
  requireAuth: true,
  ...DEFAULT_LIMITS,
} satisfies Record<Exclude<keyof LockstepOptions, keyof PoolConfig>, unknown>;

export const OWN_OPTIONS: ReadonlySet<string> = new Set(Object.keys(OWN));

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
  const { connectionString: url, user, database } = given;
  // Checked before, since a pass file is asked about them.
  const own = given.hosts ? resolveHosts(given.hosts, undefined, undefined) : undefined;
  const beside = { ...withoutUndefined({ user, database }), ...(own && { hosts: own }) };
  const fromUrl = url === undefined ? {} : parseClusterUrl(url, beside);
  const { hosts, connectionString, host, port, ...rest } = { ...fromUrl, ...withoutUndefined(given) };
  void connectionString;
  const connection: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(rest)) if (POOL_OPTIONS.has(name)) connection[name] = value;
  checkCount('max', rest.max, 1);
  checkCount('poolSize', (rest as { poolSize?: number }).poolSize, 1);
  if (given.hedgeAfterMs !== 'p95') checkCount('hedgeAfterMs', given.hedgeAfterMs, 0);
  return {
    hosts: resolveHosts(hosts, host, port),
    clock: systemClock,
    lookup: lookupAll,
    zone: given.zone ?? null,
    allowsUnknownLag: given.allowUnknownLag ?? false,
    consistency: resolveConsistency(given),
    hedgeAfterMs: given.hedgeAfterMs ?? null,
    requireAuth: resolveAuth(rest.requireAuth, connection as PoolConfig),
    connection: connection as PoolConfig,
    limits: resolveLimits(given),
    meter: given.meter ?? null,
    durabilities: createDurabilityLevels(given.durability ?? {}),
    tokenSecrets: resolveSecrets(given.tokenSecret),
  };
}

/** Followers of unknown position can show nobody's writes for sure. */
function resolveConsistency({ consistency, allowUnknownLag }: LockstepOptions): Consistency {
  if (consistency === undefined) return allowUnknownLag === true ? 'eventual' : 'own-writes';
  if (consistency === 'own-writes' || consistency === 'eventual') return consistency;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"consistency" is "${String(consistency)}"; use "own-writes" or "eventual".`,
  );
}

/** A password that the app has, a server must know too. */
function resolveAuth(given: LockstepOptions['requireAuth'], connection: PoolConfig): readonly AuthMethod[] {
  const hasPassword = Boolean(connection.password ?? process.env['PGPASSWORD']);
  if (given === undefined) return hasPassword ? SCRAM_ONLY : SAFE_AUTH;
  const isUsable =
    Array.isArray(given) && given.length > 0 && given.every((method) => AUTH_METHODS.includes(method));
  if (isUsable) return [...given];
  throw new LockstepError(
    'CONFIG_INVALID',
    `"requireAuth" (in a URL "require_auth") is not usable; name one or several of ${AUTH_METHODS.join(', ')}.`,
  );
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
  if (typeof entry !== 'object' || entry === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      '"hosts" has an entry that is no object; expected { host, port } for each server.',
    );
  }
  const { host, port = 5432, zone = null, weight = 1 } = entry;
  if (typeof host !== 'string' || host === '' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"hosts" has an entry with host "${String(host)}" and port ${typeof port === 'string' ? `"${String(port)}"` : String(port)}; expected a name and a number as port from 1 to 65535.`,
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

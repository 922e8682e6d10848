import { readFileSync } from 'node:fs';
import type { PoolConfig } from 'pg';
import { LockstepError } from '../model/errors.ts';
import type { AuthMethod } from '../wire/core/auth-guard.ts';
import { parseChannelBinding } from '../wire/core/channel-binding.ts';
import { passwordFrom } from '../wire/pass-file.ts';
import type { HostAddress, LockstepOptions } from './app/options.ts';
import { unknownName } from './app/unknown-name.ts';

const SCHEME = /^postgres(?:ql)?:\/\//;
// A ? may stand in a password, and in nothing else before the @.
const CLUSTER_URL = /^postgres(?:ql)?:\/\/(?:([^@/?:]*(?::[^@/]*)?)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;

/** Options that go before what the URL says. */
interface Beside extends Pick<LockstepOptions, 'user' | 'database'> {
  readonly hosts?: readonly Pick<HostAddress, 'host' | 'port'>[] | undefined;
}

/**
 * What a URL says, as options; a pass file is asked about the servers and the login that are used in the end. Throws
 * CONFIG_INVALID, in which no part of a password stands.
 */
export function parseClusterUrl(given: string, beside: Beside = {}): LockstepOptions {
  // A file that holds a secret mostly ends with a new line.
  const url = given.trim();
  if (!SCHEME.test(url)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'Begin the URL with postgresql:// or postgres://, in lower case and without quotes: postgresql://user:password@host:port,host:port/database.',
    );
  }
  try {
    return parseParts(url, beside);
  } catch (error) {
    throw hasStrayAt(url) ? partsMixedUp() : error;
  }
}

/**
 * Whether an @ stands behind the place of the one that ends a password. A password with a plain @ or / in it moves
 * that place, so that what is taken for a host, a database or a parameter may be a part of the password.
 */
function hasStrayAt(url: string): boolean {
  const [, credentials, ...others] = CLUSTER_URL.exec(url) ?? [];
  return credentials === undefined ? url.includes('@') : others.join('').includes('@');
}

function partsMixedUp(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    "Percent-encode what is special in the URL's user and password (@ as %40, / as %2F, ? as %3F, # as %23, % as %25), and any other @ that does not end them; as it stands, its parts cannot be told apart.",
  );
}

function parseParts(url: string, beside: Beside): LockstepOptions {
  const match = CLUSTER_URL.exec(url);
  if (match === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'The URL is not one of a cluster; expected postgresql://user:password@host:port,host:port/database.',
    );
  }
  const [, credentials = '', authority = '', database = '', query = ''] = match;
  if (`${authority}${database}`.includes('@')) throw partsMixedUp();
  const colon = credentials.indexOf(':');
  const user = decode(colon < 0 ? credentials : credentials.slice(0, colon));
  const options: Record<string, unknown> = { hosts: authority.split(',').map(parseServer) };
  if (user !== '') options['user'] = user;
  if (colon >= 0) options['password'] = decode(credentials.slice(colon + 1));
  if (database !== '') options['database'] = decode(database);
  const parameters = new URLSearchParams(query);
  const passFile = parameters.get('passfile');
  if (passFile !== null && colon < 0)
    Object.assign(options, readPassword(passFile, { ...options, ...beside }));
  return { ...(options as LockstepOptions), ...parseUrlParameters(parameters) };
}

/** As libpq, which goes on without one where the file has none; but all servers get one, so that each must have it there. */
function readPassword(path: string, { hosts = [], user = '', database = '' }: Beside): LockstepOptions {
  const found = hosts.map(({ host, port = 5432 }) =>
    passwordFrom(path, { host, port, user, database: database === '' ? user : database }),
  );
  const passwords = new Set(found.filter((password) => password !== null));
  const [password] = passwords;
  if (password === undefined) return {};
  const unnamed = found.indexOf(null);
  if (unnamed >= 0) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Add a line for each server to passfile "${path}", or give the password itself: the file has none for server ${unnamed + 1} of ${hosts.length}, which would get the password of another one.`,
    );
  }
  if (passwords.size > 1) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Give the password itself: passfile "${path}" has several for the servers of the URL.`,
    );
  }
  return { password };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new LockstepError('CONFIG_INVALID', 'The URL has a % that starts no escape; write it as %25.');
  }
}

/** Of one that is wrong only the place is told: where the host was forgotten, it is the password. */
function parseServer(text: string, index: number, { length }: readonly string[]): HostAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  if (match === null || host === '') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Server ${index + 1} of ${length} in the URL is not a host with a port, like db1.example.com:5432; it stands behind user:password@.`,
    );
  }
  return match[3] === undefined ? { host: decode(host) } : { host: decode(host), port: Number(match[3]) };
}

/**
 * As in libpq: `require` encrypts, but takes any certificate unless `sslrootcert` says whose. `allow` and
 * `prefer` do the same, and do not fall back to plain text, which would be anyone's choice who stands between.
 */
const SSL_MODES: Readonly<Record<string, PoolConfig['ssl']>> = {
  disable: false,
  allow: { rejectUnauthorized: false },
  prefer: { rejectUnauthorized: false },
  'no-verify': { rejectUnauthorized: false },
  require: { rejectUnauthorized: false },
  'verify-ca': { checkServerIdentity: () => undefined },
  'verify-full': true,
};

const SSL_FILES: Readonly<Record<string, 'ca' | 'cert' | 'key'>> = {
  sslrootcert: 'ca',
  sslcert: 'cert',
  sslkey: 'key',
};

/** What the client does anyway; a follower alone is asked for with each statement. */
const TARGETS = new Set(['any', 'read-write', 'primary', 'prefer-standby']);

function checkTarget(value: string): LockstepOptions {
  if (TARGETS.has(value)) return {};
  throw new LockstepError(
    'CONFIG_INVALID',
    `Take target_session_attrs=${value} out of the URL and use pool.follower for what must not run on the leader; the pool finds leader and followers by itself.`,
  );
}

const isOn = (value: string): boolean => value === 'true' || value === '1' || value === 'on';

/** libpq's and pg's, of which the client needs nothing, since it does that itself or Node.js does. */
const IGNORED_PARAMETERS = new Set(
  `passfile load_balance_hosts keepalives_interval keepalives_count tcp_user_timeout gssencmode sslcompression sslsni
   uselibpqcompat`.split(/\s+/),
);

const PLAIN_PARAMETERS: Readonly<Record<string, (value: string) => LockstepOptions>> = {
  application_name: (value) => ({ application_name: value }),
  options: (value) => ({ options: value }),
  connect_timeout: (value) => ({ connectionTimeoutMillis: readMs('connect_timeout', value) * 1000 }),
  require_auth: (value) => ({ requireAuth: value.split(',').map((name) => name.trim()) as AuthMethod[] }),
  channel_binding: (value) => ({ enableChannelBinding: parseChannelBinding(value) }),
  fallback_application_name: (value) => ({ fallback_application_name: value }),
  client_encoding: (value) => ({ client_encoding: value }),
  statement_timeout: (value) => ({ statement_timeout: readMs('statement_timeout', value) }),
  lock_timeout: (value) => ({ lock_timeout: readMs('lock_timeout', value) }),
  query_timeout: (value) => ({ query_timeout: readMs('query_timeout', value) }),
  idle_in_transaction_session_timeout: (value) => ({
    idle_in_transaction_session_timeout: readMs('idle_in_transaction_session_timeout', value),
  }),
  keepalives: (value) => ({ keepAlive: isOn(value) }),
  keepalives_idle: (value) => ({ keepAliveInitialDelayMillis: readMs('keepalives_idle', value) * 1000 }),
  sslnegotiation: (value) => ({ sslnegotiation: value === 'direct' ? 'direct' : 'postgres' }),
  target_session_attrs: checkTarget,
};

function readMs(name: string, value: string): number {
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw new LockstepError('CONFIG_INVALID', `Give ${name} in the URL as a whole number; it is "${value}".`);
}

function parseUrlParameters(parameters: URLSearchParams): LockstepOptions {
  const options: LockstepOptions = {};
  for (const [name, value] of parameters) {
    const parse = Object.hasOwn(PLAIN_PARAMETERS, name) ? PLAIN_PARAMETERS[name] : undefined;
    if (parse !== undefined) Object.assign(options, parse(value));
    else if (!TLS_PARAMETERS.includes(name) && !IGNORED_PARAMETERS.has(name))
      throw unknownName('URL parameter', name, [...Object.keys(PLAIN_PARAMETERS), ...TLS_PARAMETERS]);
  }
  const ssl = parseSsl(parameters);
  return ssl === undefined ? options : { ...options, ssl };
}

const TLS_PARAMETERS = ['ssl', 'sslmode', ...Object.keys(SSL_FILES)];

/** pg's own `ssl`, in terms of libpq's `sslmode`. */
const MODES_OF_SSL: Readonly<Record<string, string>> = {
  true: 'verify-full',
  1: 'verify-full',
  false: 'disable',
  0: 'disable',
  'no-verify': 'no-verify',
};

function parseSsl(parameters: URLSearchParams): PoolConfig['ssl'] {
  const short = parameters.get('ssl');
  const mode = parameters.get('sslmode') ?? (short === null ? null : (MODES_OF_SSL[short] ?? short));
  if (mode !== null && !Object.hasOwn(SSL_MODES, mode)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `sslmode "${mode}" in the URL is not supported; use one of ${Object.keys(SSL_MODES).join(', ')}, or the option "ssl".`,
    );
  }
  const files: Record<string, string> = {};
  for (const [name, option] of Object.entries(SSL_FILES)) {
    const path = parameters.get(name);
    if (path !== null && path !== 'system') files[option] = readPem(name, path);
  }
  if (Object.keys(files).length === 0) return mode === null ? undefined : SSL_MODES[mode];
  if (mode === 'disable') return false;
  const isAuthorityKnown = mode === 'require' && files['ca'] !== undefined;
  const checks = SSL_MODES[isAuthorityKnown ? 'verify-ca' : (mode ?? 'verify-full')];
  return { ...(typeof checks === 'object' ? checks : {}), ...files };
}

function readPem(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} "${path}" in the URL cannot be read; give a PEM file.`,
      {
        cause: error,
      },
    );
  }
}

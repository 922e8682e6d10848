import { readFileSync } from 'node:fs';
import type { PoolConfig } from 'pg';
import { LockstepError } from '../model/errors.ts';
import type { AuthMethod } from '../wire/core/auth-guard.ts';
import type { HostAddress, LockstepOptions } from './options.ts';
import { unknownName } from './unknown-name.ts';

const CLUSTER_URL = /^postgres(?:ql)?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;

/** What a URL says, as options. Throws CONFIG_INVALID. */
export function parseClusterUrl(url: string): LockstepOptions {
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
  return { ...(options as LockstepOptions), ...parseUrlParameters(new URLSearchParams(query)) };
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

/** As in libpq: `require` encrypts, but takes any certificate unless `sslrootcert` says whose. */
const SSL_MODES: Readonly<Record<string, PoolConfig['ssl']>> = {
  disable: false,
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

const PLAIN_PARAMETERS: Readonly<Record<string, (value: string) => LockstepOptions>> = {
  application_name: (value) => ({ application_name: value }),
  options: (value) => ({ options: value }),
  connect_timeout: (value) => ({ connectionTimeoutMillis: Number(value) * 1000 }),
  require_auth: (value) => ({ requireAuth: value.split(',').map((name) => name.trim()) as AuthMethod[] }),
  channel_binding: (value) => ({ enableChannelBinding: value !== 'disable' }),
};

function parseUrlParameters(parameters: URLSearchParams): LockstepOptions {
  const options: LockstepOptions = {};
  for (const [name, value] of parameters) {
    const parse = Object.hasOwn(PLAIN_PARAMETERS, name) ? PLAIN_PARAMETERS[name] : undefined;
    if (parse !== undefined) Object.assign(options, parse(value));
    else if (name !== 'sslmode' && !Object.hasOwn(SSL_FILES, name)) {
      const known = [...Object.keys(PLAIN_PARAMETERS), 'sslmode', ...Object.keys(SSL_FILES)];
      throw unknownName('URL parameter', name, known);
    }
  }
  const ssl = parseSsl(parameters);
  return ssl === undefined ? options : { ...options, ssl };
}

function parseSsl(parameters: URLSearchParams): PoolConfig['ssl'] {
  const mode = parameters.get('sslmode');
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

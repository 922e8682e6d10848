import type pg from 'pg';
import { LockstepError } from '../model/errors.ts';
import type { Timeline } from '../model/timeline.ts';
import type { GuardedClientConfig } from '../wire/guarded-client.ts';
import { refuseSecondAddress, secondAddress } from '../wire/core/query-part.ts';
import { createUrlClient } from '../wire/url-client.ts';
import { refuseParameter, unknownParameter } from './core/url-parameters.ts';

const URL_WITH_HOSTS = /^(postgres(?:ql)?:\/\/(?:[^@/?#]*@)?)([^@/?#]*)(\/[^@?#]*)?(\?[^#]*)?$/;
/** A host, a socket's folder or nothing, and a port. */
const HOST = /^(?:\[[^\][]+\]|[^:\][]*)(?::\d{1,5})?$/;
const CONNECT_TIMEOUT_MS = 5_000;
/** Values as text must mean the same wherever they are read. PostgreSQL's own subscriptions set the same. */
const TEXT_FORMAT = '-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3';

/** One connection string for each host of `postgresql://user:password@a:5432,b:5432/db`. Throws CONFIG_INVALID. */
export function splitHosts(url: string): readonly string[] {
  const parts = partsOf(url);
  if (parts === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'Give a database as postgresql://user:password@host:port/database; in a user name or a password, write "@" as %40, "/" as %2F, "?" as %3F and "#" as %23.',
    );
  }
  const { head, hosts, path, parameters, unknown } = parts;
  if (unknown !== null) throw refuseParameter(unknown);
  refuseSecondAddress(url);
  return hosts.split(',').map((host, index, { length }) => {
    if (HOST.test(host)) return `${head}${host}${path}${parameters}`;
    // Where the host was forgotten, a password stands in its place.
    throw new LockstepError(
      'CONFIG_INVALID',
      `Server ${index + 1} of ${length} in the URL is not a host with a port, like db1.example.com:5432; it stands behind user:password@.`,
    );
  });
}

/** Null where it cannot be told which is the host: what seems to be a parameter, and has an @, may be the rest of a password. */
function partsOf(url: string): {
  readonly head: string;
  readonly hosts: string;
  readonly path: string;
  readonly parameters: string;
  readonly unknown: string | null;
} | null {
  const match = URL_WITH_HOSTS.exec(url);
  if (match === null) return null;
  const [, head = '', hosts = '', path = '', parameters = ''] = match;
  const unknown = unknownParameter(parameters);
  return unknown !== null && parameters.includes('@') ? null : { head, hosts, path, parameters, unknown };
}

/** The database without its password, for people. */
export function describeDatabase(url: string): string {
  const parts = partsOf(url);
  // Behind an @ among the parameters, what seems to be the host may be a part of a password.
  if (parts === null || secondAddress(url) !== null || parts.parameters.includes('@')) return 'a database';
  const isKnown = parts.hosts.split(',').every((host) => HOST.test(host));
  return isKnown ? `${parts.hosts}${parts.path}` : 'a database';
}

export interface LoginOptions {
  readonly applicationName: string;
  /** Speaks the replication protocol, for START_REPLICATION and slots. */
  readonly replication?: boolean;
}

/**
 * What stands in a database is its owner's: no function or operator of theirs may take the place of PostgreSQL's in a
 * session of ours, and so nothing is found without its schema; nor does it take on a role that the
 * owner set for the database, whose policies would throw it off and run as who we are.
 */
const FIRST_WORDS = `SELECT pg_catalog.set_config('search_path', 'pg_catalog', false), pg_catalog.set_config('role', 'none', false),
  pg_catalog.pg_is_in_recovery() AS recovery`;

/**
 * Logs in to whichever of the hosts leads now: one that is in recovery cannot decode, or take writes. In the session
 * only PostgreSQL's own names are found without a schema. Throws NO_LEADER when none answers and leads, with what
 * the hosts said.
 */
export async function connectToLeader(url: string, options: LoginOptions): Promise<pg.Client> {
  const said: string[] = [];
  let cause: unknown;
  for (const host of splitHosts(url)) {
    try {
      const client = await connect(host, options);
      const { rows } = await client.query<{ recovery: boolean }>(FIRST_WORDS);
      if (rows[0]?.recovery === false) return client;
      said.push(`${describeDatabase(host)} follows`);
      await client.end();
    } catch (error) {
      cause = error;
      said.push(`${describeDatabase(host)}: ${(error as Error).message}`);
    }
  }
  throw new LockstepError('NO_LEADER', `No server takes writes: ${said.join('; ')}.`, {
    retryable: true,
    cause,
  });
}

/** Logs in to one server. */
async function connect(url: string, options: LoginOptions): Promise<pg.Client> {
  const config: GuardedClientConfig & { connectionString: string; replication?: string } = {
    connectionString: url,
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    // A server that vanished without a word must not be waited for for ever.
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
    ...(options.replication === true ? { replication: 'database', options: TEXT_FORMAT } : {}),
  };
  const client = createUrlClient(config);
  await client.connect();
  return client;
}

/** The server's version as a number, such as 150018. */
export async function readServerVersion(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
  return Number(rows[0]?.server_version_num);
}

/** On a replication connection. Throws NO_LEADER, retryable, where the server goes on from another past. */
export async function checkTimeline(client: pg.Client, timeline: Timeline): Promise<void> {
  const { rows } = await client.query<{ timeline: string | number }>('IDENTIFY_SYSTEM');
  const found = Number(rows[0]?.timeline);
  if (found === timeline) return;
  throw new LockstepError(
    'NO_LEADER',
    `The source has failed over to timeline ${found} meanwhile; it is looked at anew.`,
    {
      retryable: true,
    },
  );
}

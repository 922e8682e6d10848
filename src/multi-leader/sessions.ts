import type pg from 'pg';
import { splitHosts } from '../logical/endpoints.ts';
import { SET_SESSION } from './merge/journal-store.ts';
import { LockstepError } from '../model/errors.ts';
import type { GuardedClientConfig } from '../wire/guarded-client.ts';
import { readOnlyTables } from '../wire/only-tables.ts';
import { createUrlClient } from '../wire/url-client.ts';

const CONNECT_TIMEOUT_MS = 5_000;
/** A role that the owner set for the database is not taken on: their policies would throw it off and run as who we are. */
const FIRST_WORDS = `SELECT pg_catalog.pg_is_in_recovery() AS follows, pg_catalog.set_config('role', 'none', false)`;

/**
 * A connection to whichever server of a region leads. It reads no view. Throws NO_LEADER when none does, and CONFIG_INVALID
 * for a server that is too old.
 */
export async function openSession(url: string, purpose: string): Promise<pg.Client> {
  const said: string[] = [];
  for (const host of splitHosts(url)) {
    const client = createClient(host, purpose);
    try {
      await client.connect();
      const { rows } = await client.query<{ follows: boolean }>(FIRST_WORDS);
      if (rows[0]?.follows === false) {
        await client.query(SET_SESSION);
        await readOnlyTables(client);
        return client;
      }
      said.push('it follows');
    } catch (error) {
      if (error instanceof LockstepError && error.code === 'CONFIG_INVALID') {
        await client.end().catch(() => undefined);
        throw error;
      }
      said.push((error as Error).message);
    }
    await client.end().catch(() => undefined);
  }
  throw new LockstepError('NO_LEADER', `The region's own server takes no writes: ${said.join('; ')}.`, {
    retryable: true,
  });
}

function createClient(url: string, purpose: string): pg.Client {
  // Statements of one batch go out in one flight.
  const config: GuardedClientConfig & { readonly connectionString: string; readonly pipeline: true } = {
    connectionString: url,
    application_name: `lockstep regions ${purpose}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    pipeline: true,
  };
  return createUrlClient(config);
}

/**
 * A session whose transactions count as another region's: no region gets them from here, triggers and foreign keys do
 * not fire, and a commit is durable before it is acknowledged to the other region.
 */
export async function openOriginSession(url: string, purpose: string, origin: string): Promise<pg.Client> {
  const client = await openSession(url, purpose);
  try {
    await client.query(`SET session_replication_role = replica; SET synchronous_commit = on; SET jit = off`);
    await client.query('SELECT pg_replication_origin_session_setup($1)', [origin]);
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

import type pg from 'pg';
import { ONLY_SYSTEM_NAMES, SUPERUSER } from '../../postgres/settings.ts';
import { SCRAM_ONLY } from '../../wire/core/auth-guard.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';
import type { ClusterConfig } from '../config/config.ts';

const CONNECT_TIMEOUT_MS = 5_000;

/** A new connection as superuser to one database of a node, for a rescue. Rejects as pg does. */
export async function connectAsSuperuser(
  config: ClusterConfig,
  { host, port }: { readonly host: string; readonly port: number },
  database: string,
): Promise<pg.Client> {
  const client = new GuardedClient({
    requireAuth: SCRAM_ONLY,
    host,
    port,
    user: SUPERUSER,
    password: config.secrets.superuser,
    database,
    application_name: 'lockstep rescue',
    options: ONLY_SYSTEM_NAMES,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

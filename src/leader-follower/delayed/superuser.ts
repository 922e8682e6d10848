import pg from 'pg';
import { SUPERUSER } from '../../postgres/settings.ts';
import type { ClusterConfig } from '../config/config.ts';

const CONNECT_TIMEOUT_MS = 5_000;

/** A new connection as superuser to one database of a node, for a rescue. Rejects as pg does. */
export async function connectAsSuperuser(
  config: ClusterConfig,
  { host, port }: { readonly host: string; readonly port: number },
  database: string,
): Promise<pg.Client> {
  const client = new pg.Client({
    host,
    port,
    user: SUPERUSER,
    password: config.secrets.superuser,
    database,
    application_name: 'lockstep rescue',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

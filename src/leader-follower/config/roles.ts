import type pg from 'pg';
import { escapeIdentifier, escapeLiteral } from 'pg';
import { REPLICATION_USER, SUPERUSER } from '../../postgres/settings.ts';
import type { ClusterConfig } from './config.ts';

/**
 * Creates the roles and the database that a new cluster needs; changes nothing that exists, except that
 * passwords follow the configuration.
 */
export async function ensureRoles(client: pg.Client, config: ClusterConfig): Promise<void> {
  await ensureRole(client, REPLICATION_USER, 'REPLICATION', config.secrets.replication);
  await ensureRole(client, config.appUser, '', config.secrets.app);
  await ensureSearchPath(client);
  const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [config.database]);
  if (rowCount === 0) {
    await client.query(
      `CREATE DATABASE ${escapeIdentifier(config.database)} OWNER ${escapeIdentifier(config.appUser)}`,
    );
  }
}

/**
 * The superuser has the name of a schema that Lockstep makes for an app, and PostgreSQL's own search path begins with "$user": what
 * people create in psql without a schema would land there, where the app does not find it. A path that people have set stays.
 */
async function ensureSearchPath(client: pg.Client): Promise<void> {
  const { rowCount } = await client.query(
    `SELECT 1 FROM pg_db_role_setting, unnest(setconfig) AS setting
      WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = $1) AND setdatabase = 0 AND setting LIKE 'search\\_path=%'`,
    [SUPERUSER],
  );
  if (rowCount === 0) await client.query(`ALTER ROLE ${SUPERUSER} SET search_path = public`);
}

async function ensureRole(
  client: pg.Client,
  name: string,
  attributes: string,
  password: string,
): Promise<void> {
  const { rowCount } = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [name]);
  if (rowCount !== 0) return;
  await client.query(
    `CREATE ROLE ${escapeIdentifier(name)} LOGIN ${attributes} PASSWORD ${escapeLiteral(password)}`,
  );
}

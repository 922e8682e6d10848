import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';

/**
 * Where Lockstep keeps its own tables in a database that it writes to. Not the name of a role: that would make it the
 * first schema of the role's search_path.
 */
export const OWN_SCHEMA = 'lockstep_apply';

/**
 * What a running follow says of itself, every five seconds. One row for each follow: how far it has got, in the same transactions as the rows themselves. A follow's tables:
 * up to which position each was copied. What was set aside, with the changes as they came.
 */
const SCHEMA_SQL = `
CREATE SCHEMA IF NOT EXISTS ${OWN_SCHEMA};
CREATE TABLE IF NOT EXISTS ${OWN_SCHEMA}.follow (
  name text PRIMARY KEY,
  source_system text NOT NULL,
  slot text NOT NULL,
  publication text NOT NULL,
  position pg_lsn NOT NULL,
  committed_at timestamptz,
  started_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS ${OWN_SCHEMA}.follow_table (
  follow text NOT NULL REFERENCES ${OWN_SCHEMA}.follow (name) ON DELETE CASCADE,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  copied_at pg_lsn,
  copied_rows bigint,
  PRIMARY KEY (follow, schema_name, table_name)
);
CREATE TABLE IF NOT EXISTS ${OWN_SCHEMA}.quarantine (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  follow text NOT NULL REFERENCES ${OWN_SCHEMA}.follow (name) ON DELETE CASCADE,
  position pg_lsn NOT NULL,
  xid bigint NOT NULL,
  committed_at timestamptz NOT NULL,
  tables text[] NOT NULL,
  keys text[] NOT NULL,
  sqlstate text NOT NULL,
  error text NOT NULL,
  format text NOT NULL,
  messages bytea NOT NULL,
  set_aside_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE ${OWN_SCHEMA}.follow ADD COLUMN IF NOT EXISTS source_history text;
ALTER TABLE ${OWN_SCHEMA}.follow_table ADD COLUMN IF NOT EXISTS is_begun boolean NOT NULL DEFAULT false;
CREATE TABLE IF NOT EXISTS ${OWN_SCHEMA}.follow_report (
  follow text PRIMARY KEY REFERENCES ${OWN_SCHEMA}.follow (name) ON DELETE CASCADE,
  reported_at timestamptz NOT NULL,
  report json NOT NULL
) WITH (fillfactor = 50);`;

/** Two that start at once must not create the same table twice. */
const SCHEMA_LOCK = 5_441_017;

/** Whether Lockstep has tables of its own in a database. */
export async function hasOwnSchema(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT pg_catalog.to_regclass('${OWN_SCHEMA}.quarantine') IS NOT NULL AS there`,
  );
  return rows[0]?.there === true;
}

/** Whether they are those of this version. */
async function isUpToDate(client: pg.Client): Promise<boolean> {
  const { rowCount } = await client.query(
    `SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('${OWN_SCHEMA}.follow_report')`,
  );
  return rowCount === 1;
}

/**
 * Somebody else's schema of this name could hold triggers and functions that would run with our rights. Throws
 * CONFIG_INVALID for one.
 */
export async function checkOwnSchema(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ owner: string }>(
    `SELECT r.rolname AS owner FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
      WHERE n.nspname = $1 AND r.rolname <> current_user AND NOT r.rolsuper`,
    [OWN_SCHEMA],
  );
  const [row] = rows;
  if (row === undefined) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Log in to the target as "${row.owner}", to whom schema ${OWN_SCHEMA} belongs there, or drop the schema; what another role has made in it would run with this one's rights.`,
  );
}

/**
 * Creates Lockstep's tables where they are missing. The role needs CREATE on the database for that, once. Throws
 * CONFIG_INVALID where the schema is another role's.
 */
export async function ensureOwnSchema(client: pg.Client): Promise<void> {
  await checkOwnSchema(client);
  if (await isUpToDate(client)) return;
  await client.query(`BEGIN; SELECT pg_advisory_xact_lock(${SCHEMA_LOCK}); ${SCHEMA_SQL} COMMIT`);
}

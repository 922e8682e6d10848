import type pg from 'pg';
import type { NodeIdentity } from '../core/membership.ts';
import { SCHEMA_SQL, SCHEMA_VERSION } from './schema.ts';

/** Any number that nothing else locks: making the schema twice at once would fail. */
const INSTALL_LOCK = 7_212_016;

export async function inspectNode(client: pg.ClientBase): Promise<NodeIdentity> {
  const { rows } = await client.query<{
    id: string;
    recovery: boolean;
    timeline: string | null;
    fsync: boolean;
    present: boolean;
  }>(
    `SELECT system_identifier::text AS id, pg_is_in_recovery() AS recovery,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline, current_setting('fsync')::bool AS fsync,
       to_regclass('lockstep_leaderless.node') IS NOT NULL AS present FROM pg_control_system()`,
  );
  const server = rows[0];
  if (server === undefined) throw new TypeError('The server did not say who it is.');
  const about = {
    systemIdentifier: server.id,
    isInRecovery: server.recovery,
    isDurable: server.fsync,
    timeline: server.timeline,
  };
  const none = { ...about, schemaVersion: null, epoch: 0, members: null, isFounded: false, foundedOn: null };
  if (!server.present) return none;
  const found = await client.query<{
    schema_version: number;
    epoch: number;
    members: string[] | null;
    is_founded: boolean;
    founded_on: string | null;
  }>(
    // By its text: tables of an older release have no timeline yet.
    `SELECT schema_version, epoch, members, is_founded, to_jsonb(n) ->> 'timeline' AS founded_on FROM lockstep_leaderless.node n`,
  );
  const node = found.rows[0];
  if (node === undefined) return none;
  return {
    ...about,
    schemaVersion: node.schema_version,
    epoch: node.epoch,
    members: node.members,
    isFounded: node.is_founded,
    foundedOn: node.founded_on,
  };
}

/** Makes tables and functions, or brings them to this release's; leaves newer ones alone. */
export async function installSchema(client: pg.ClientBase): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [INSTALL_LOCK]);
    const { schemaVersion } = await inspectNode(client);
    if (schemaVersion === null || schemaVersion < SCHEMA_VERSION) {
      await client.query(SCHEMA_SQL);
      await client.query(
        `INSERT INTO lockstep_leaderless.node (schema_version) VALUES ($1)
         ON CONFLICT (is_only) DO UPDATE SET schema_version = excluded.schema_version`,
        [SCHEMA_VERSION],
      );
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Gives a node without a list the list of all nodes; one that has a list keeps it. */
export async function proposeMembers(client: pg.ClientBase, members: readonly string[]): Promise<void> {
  await client.query(
    'UPDATE lockstep_leaderless.node SET members = $1, epoch = 1 WHERE members IS NULL AND NOT is_founded',
    [members],
  );
}

/** Every node has the list: from now on this one is used. */
export async function confirmMembers(client: pg.ClientBase, members: readonly string[]): Promise<void> {
  await client.query(
    `UPDATE lockstep_leaderless.node SET is_founded = true, timeline = coalesce(timeline, left(pg_walfile_name(pg_current_wal_lsn()), 8))
     WHERE members = $1`,
    [members],
  );
}

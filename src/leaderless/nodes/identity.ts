import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { NodeIdentity } from '../core/membership.ts';
import { SCHEMA_SQL, SCHEMA_VERSION } from './schema.ts';

/** Any number that nothing else locks: making the schema twice at once would fail. */
const INSTALL_LOCK = 7_212_016;

/** Of the schema: a role that is not to run code in our sessions. */
const STRANGER_SQL = `
SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
 WHERE n.nspname = 'lockstep_leaderless' AND r.rolname <> current_user AND NOT r.rolsuper`;

/** Throws CONFIG_INVALID where the schema is another role's: what that has made in it would run with our rights. */
function checkOwner(stranger: string | null | undefined): void {
  if (stranger == null) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Log in to the server as "${stranger}", to whom schema lockstep_leaderless belongs there, or drop the schema; what another role has made in it would run with this one's rights.`,
  );
}

/** Throws CONFIG_INVALID for one whose tables are another role's. */
export async function inspectNode(client: pg.ClientBase): Promise<NodeIdentity> {
  const { rows } = await client.query<{
    id: string;
    recovery: boolean;
    timeline: string | null;
    fsync: boolean;
    present: boolean;
    stranger: string | null;
  }>(
    `SELECT system_identifier::text AS id, pg_is_in_recovery() AS recovery,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline, current_setting('fsync')::bool AS fsync,
       to_regclass('lockstep_leaderless.node') IS NOT NULL AS present, (${STRANGER_SQL}) AS stranger FROM pg_control_system()`,
  );
  const server = rows[0];
  if (server === undefined) throw new TypeError('The server did not say who it is.');
  checkOwner(server.stranger);
  const about = {
    systemIdentifier: server.id,
    id: server.id,
    isInRecovery: server.recovery,
    isDurable: server.fsync,
    timeline: server.timeline,
  };
  const none = {
    ...about,
    schemaVersion: null,
    epoch: 0,
    cluster: null,
    members: null,
    next: null,
    addresses: {},
    isFounded: false,
    foundedOn: null,
  };
  if (!server.present) return none;
  const found = await client.query<{
    schema_version: number;
    epoch: number;
    cluster: string | null;
    members: string[] | null;
    next: string[] | null;
    addresses: Record<string, string> | null;
    incarnation: string | null;
    is_founded: boolean;
    founded_on: string | null;
  }>(
    // By their texts: tables of an older release do not have all of these columns.
    `SELECT schema_version, epoch, members, is_founded, to_jsonb(n) ->> 'timeline' AS founded_on, to_jsonb(n) ->> 'incarnation' AS incarnation,
       coalesce(to_jsonb(n) ->> 'cluster', md5(array_to_string(members, ','))) AS cluster, to_jsonb(n) -> 'addresses' AS addresses,
       CASE WHEN jsonb_typeof(to_jsonb(n) -> 'next_members') = 'array'
         THEN ARRAY(SELECT jsonb_array_elements_text(to_jsonb(n) -> 'next_members')) END AS next
     FROM lockstep_leaderless.node n`,
  );
  const node = found.rows[0];
  if (node === undefined) return none;
  return {
    ...about,
    schemaVersion: node.schema_version,
    id: node.incarnation === null ? server.id : `${server.id}.${node.incarnation}`,
    epoch: node.epoch,
    cluster: node.cluster,
    members: node.members,
    next: node.next,
    addresses: node.addresses ?? {},
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
      // Checked once it is there: nobody can make it in between.
      await client.query('CREATE SCHEMA IF NOT EXISTS lockstep_leaderless');
      const { rows } = await client.query<{ rolname: string }>(STRANGER_SQL);
      checkOwner(rows[0]?.rolname);
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
    `UPDATE lockstep_leaderless.node SET members = $1, epoch = 1, cluster = md5(array_to_string($1::text[], ','))
     WHERE members IS NULL AND NOT is_founded`,
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

/**
 * Makes a server ready to join: with tables of its own, and a name that nobody ever had. Throws CONFIG_INVALID for one that holds the
 * data of a quorum; `isWiped` takes those tables away first.
 */
export async function prepareToJoin(
  client: pg.ClientBase,
  name: string,
  incarnation: string,
  isWiped: boolean,
): Promise<NodeIdentity> {
  if (isWiped) await client.query('DROP SCHEMA IF EXISTS lockstep_leaderless CASCADE');
  await installSchema(client);
  const found = await inspectNode(client);
  if (found.isFounded || found.members !== null)
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} holds the data of a quorum; name an empty server, or drop its schema lockstep_leaderless when nobody needs it.`,
    );
  await client.query('UPDATE lockstep_leaderless.node SET incarnation = coalesce(incarnation, $1)', [
    incarnation,
  ]);
  return inspectNode(client);
}

import type pg from 'pg';
import { formatLsn, parseLsn } from '../model/lsn.ts';
import type { Lsn } from '../model/lsn.ts';

const PREFIX = 'lockstep_';

/** The physical replication slot that keeps the log a follower still needs. */
export function slotName(follower: string): string {
  return `${PREFIX}${follower}`;
}

/** One of our slots. Source: PostgreSQL documentation, "pg_replication_slots". */
export interface FollowerSlot {
  readonly follower: string;
  readonly isActive: boolean;
  /** Past max_slot_wal_keep_size: what it kept is gone for good. */
  readonly isLost: boolean;
  readonly restartLsn: Lsn | null;
}

/** Our slots on this server, and where it would begin to replay after a crash. As superuser. */
export async function readSlots(client: pg.Client): Promise<{
  readonly slots: readonly FollowerSlot[];
  readonly isInRecovery: boolean;
  readonly redoLsn: Lsn;
}> {
  const server = await client.query<{ in_recovery: boolean; redo: string }>(
    'SELECT pg_is_in_recovery() AS in_recovery, redo_lsn::text AS redo FROM pg_control_checkpoint()',
  );
  const { rows } = await client.query<{
    slot_name: string;
    active: boolean;
    wal_status: string | null;
    restart_lsn: string | null;
  }>(
    `SELECT slot_name, active, wal_status, restart_lsn::text FROM pg_replication_slots
      WHERE slot_type = 'physical' AND starts_with(slot_name, $1)`,
    [PREFIX],
  );
  const found = server.rows[0];
  if (found === undefined) throw new Error('pg_control_checkpoint() returned no row');
  return {
    slots: rows.map((row) => ({
      follower: row.slot_name.slice(PREFIX.length),
      isActive: row.active,
      isLost: row.wal_status === 'lost',
      restartLsn: row.restart_lsn === null ? null : parseLsn(row.restart_lsn),
    })),
    isInRecovery: found.in_recovery,
    redoLsn: parseLsn(found.redo),
  };
}

/** Creates a slot that keeps the log from the server's redo position on, on a leader or a follower. */
export async function createSlot(client: pg.Client, follower: string): Promise<void> {
  await client.query('SELECT pg_create_physical_replication_slot($1, true)', [slotName(follower)]);
}

/** Drops a slot that no walsender uses. */
export async function dropSlot(client: pg.Client, follower: string): Promise<void> {
  await client.query('SELECT pg_drop_replication_slot($1)', [slotName(follower)]);
}

/** Lets a slot that no walsender uses keep only what comes from `to` on. */
export async function advanceSlot(client: pg.Client, follower: string, to: Lsn): Promise<void> {
  await client.query('SELECT pg_replication_slot_advance($1, $2)', [slotName(follower), formatLsn(to)]);
}

/** From here on PostgreSQL keeps a leader's logical slots on its followers, and says which. */
const SLOT_SYNC_SINCE = 170_000;
const OWN_PREFIX = 'lockstep_follow';

/**
 * On a follower that streams: drops logical slots that it has kept from when it led itself. Nothing moves them on, so that they
 * hold back log; the catalog rows that they would need are vacuumed meanwhile; and PostgreSQL refuses to keep the leader's
 * slot of the same name beside. Those that it keeps for its leader stay. Before it streams it may lead again, and is to have
 * them then. As superuser.
 */
export async function dropStaleLogicalSlots(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ version: number }>(
    `SELECT current_setting('server_version_num')::int4 AS version`,
  );
  const isStale =
    (rows[0]?.version ?? 0) >= SLOT_SYNC_SINCE
      ? 'failover AND NOT synced'
      : `starts_with(slot_name, '${OWN_PREFIX}')`;
  await client.query(
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
      WHERE slot_type = 'logical' AND NOT active AND ${isStale} AND pg_is_in_recovery()
        AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')`,
  );
}

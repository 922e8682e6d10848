import type pg from 'pg';

/** From here on PostgreSQL keeps a leader's logical slots on its followers, and says which. */
const SLOT_SYNC_SINCE = 170_000;
const OWN_PREFIX = 'lockstep_follow_';

/**
 * On a follower: drops logical slots that it has kept from when it led itself. Nothing moves them on, so that they hold
 * back log; the catalog rows that they would need are vacuumed meanwhile; and PostgreSQL refuses to keep the leader's slot of
 * the same name beside. Those that it keeps for its leader stay. As superuser.
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
      WHERE slot_type = 'logical' AND NOT active AND pg_is_in_recovery() AND ${isStale}`,
  );
}

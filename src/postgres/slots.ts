import type pg from 'pg';

const PREFIX = 'lockstep_';

/** The physical replication slot that keeps the log a follower still needs. */
export function slotName(follower: string): string {
  return `${PREFIX}${follower}`;
}

/** Creates the followers' slots that are missing and drops those of ours that nobody uses any more. */
export async function ensureSlots(client: pg.Client, followers: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ slot_name: string; active: boolean; wal_status: string | null }>(
    `SELECT slot_name, active, wal_status FROM pg_replication_slots WHERE slot_type = 'physical' AND starts_with(slot_name, $1)`,
    [PREFIX],
  );
  const wanted = new Set(followers.map(slotName));
  for (const slot of rows) {
    // A slot past its cap is lost for good; its follower is cloned anew and gets a fresh one.
    const isUsable = wanted.delete(slot.slot_name) && slot.wal_status !== 'lost';
    if (isUsable || slot.active) continue;
    await client.query('SELECT pg_drop_replication_slot($1)', [slot.slot_name]);
    if (slot.wal_status === 'lost') wanted.add(slot.slot_name);
  }
  for (const name of wanted)
    await client.query('SELECT pg_create_physical_replication_slot($1, true)', [name]);
}

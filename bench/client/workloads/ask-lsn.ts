import type pg from 'pg';

/** After this the leader answers, as in Lockstep's own default (`gateWaitMs`). */
const PATIENCE_MS = 20;

const ASK_REPLAYED = 'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS reached';

/** The plain way to wait for a follower: asks in a round trip of its own, again until it is there. */
export async function askReplayed(follower: pg.Pool, lsn: string): Promise<boolean> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  do {
    const { rows } = await follower.query<{ reached: boolean }>(ASK_REPLAYED, [lsn]);
    if (rows[0]?.reached === true) return true;
  } while (performance.now() < deadlineMs);
  return false;
}

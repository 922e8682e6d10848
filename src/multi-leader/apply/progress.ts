import type pg from 'pg';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { timeOf } from '../tables/statements.ts';

/** How far the origin's log was applied, as of the last durable commit. */
export async function readProgress(client: pg.Client, origin: string): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: string | null }>(
    'SELECT pg_replication_origin_progress($1, true)::text AS lsn',
    [origin],
  );
  return rows[0]?.lsn == null ? (0n as Lsn) : parseLsn(rows[0].lsn);
}

/** Notes how far a log was read in which nothing was to be applied, by a transaction of the origin's session. */
export async function noteProgress(client: pg.Client, until: Lsn, timeUs: number): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(`SELECT pg_replication_origin_xact_setup($1::pg_lsn, ${timeOf('$2::bigint')})`, [
      formatLsn(until),
      timeUs,
    ]);
    // Without an id it would have no commit record.
    await client.query('SELECT pg_current_xact_id()');
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** After how long of waiting PostgreSQL looks for a circle. */
export async function readDeadlockTimeout(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ ms: string }>(
    `SELECT setting AS ms FROM pg_settings WHERE name = 'deadlock_timeout'`,
  );
  return Number(rows[0]?.ms);
}

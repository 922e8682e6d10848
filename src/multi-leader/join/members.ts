import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { SCHEMA } from '../tables/statements.ts';

/** Which regions a region's database knows of. */
export interface Members {
  readonly own: string;
  /** In the order that they were founded in. */
  readonly names: readonly string[];
  /** Another one, which joins them. */
  readonly joining: string | null;
  /** It is itself the one that joins, and is not open yet. */
  readonly isJoining: boolean;
  /** How it decides, as one text. */
  readonly definition: string | null;
  readonly wentBack: boolean;
}

/** Null where the database is no region. */
export async function readMembers(client: pg.Client): Promise<Members | null> {
  const { rows: found } = await client.query<{ isThere: boolean }>(
    'SELECT to_regclass($1) IS NOT NULL AS "isThere"',
    [`${SCHEMA}.regions`],
  );
  if (found[0]?.isThere !== true) return null;
  const { rows } = await client.query<Members>(
    `SELECT own, names, joining, is_joining AS "isJoining", definition, went_back AS "wentBack"
     FROM ${SCHEMA}.regions`,
  );
  return rows[0] ?? null;
}

/**
 * From now on this region forgets nothing, before it counts the newcomer's promises. The lock waits for the pruning that is
 * under way, which reads the members in each of its transactions.
 */
export async function countNewcomer(client: pg.Client, name: string): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(`LOCK TABLE ${SCHEMA}.regions IN ACCESS EXCLUSIVE MODE`);
    const { rows } = await client.query<{ own: string; joining: string }>(
      `UPDATE ${SCHEMA}.regions SET joining = coalesce(joining, $1) RETURNING own, joining`,
      [name],
    );
    const [row] = rows;
    if (row !== undefined && row.joining !== name) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Let ${row.joining} join first, or give it up with "lockstep regions add ${row.joining} --url <its URL> --give-up": region ${row.own} waits for it.`,
      );
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Whether the region that joins is open. Waits for the transaction that opens it, where one is under way. */
export async function hasJoined(client: pg.Client): Promise<boolean> {
  if ((await readMembers(client)) === null) return false;
  const { rows } = await client.query<{ isJoining: boolean }>(
    `SELECT is_joining AS "isJoining" FROM ${SCHEMA}.regions FOR UPDATE`,
  );
  return rows[0]?.isJoining === false;
}

/** Undoes {@link countNewcomer}. */
export async function forgetNewcomer(client: pg.Client, name: string): Promise<void> {
  await client.query(`UPDATE ${SCHEMA}.regions SET joining = NULL WHERE joining = $1`, [name]);
}

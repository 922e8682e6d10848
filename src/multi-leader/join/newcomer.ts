import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { PUBLICATION } from '../setup/publication.ts';
import { nameFor, OWN_SLOT } from '../setup/region-setup.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { SCHEMA, WRITERS_SCHEMA } from '../tables/statements.ts';
import { readMembers } from './members.ts';

/** Takes away what a join that did not come to its end has left in the new region, if any has. Nobody runs it. */
export async function clearNewcomer(client: pg.Client, others: readonly string[]): Promise<void> {
  if ((await readMembers(client))?.isJoining !== true) return;
  const names = [[OWN_SLOT, ...others.map(nameFor)]];
  await client.query(
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
     WHERE database = current_database() AND slot_name = ANY ($1)`,
    names,
  );
  await client.query(`DROP PUBLICATION IF EXISTS ${PUBLICATION}`);
  await client.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
  await client.query(`DROP SCHEMA IF EXISTS ${WRITERS_SCHEMA} CASCADE`);
  await client.query(
    `SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = ANY ($1)`,
    names,
  );
}

/** Throws CONFIG_INVALID for a table with rows. */
export async function checkEmpty(client: pg.Client, shapes: readonly TableShape[]): Promise<void> {
  const full: string[] = [];
  for (const shape of shapes) {
    const { rowCount } = await client.query(`SELECT FROM ${quoteShape(shape)} LIMIT 1`);
    if (rowCount !== 0) full.push(shape.name);
  }
  if (full.length === 0) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Empty ${full.join(', ')} in the new region, and stop who writes there: a region that joins gets its rows from the others, and would lose its own.`,
    { details: { tables: full } },
  );
}

/** Within a transaction: who would write waits until the region is open. Readers see it empty until then. */
export async function holdWriters(client: pg.Client, shapes: readonly TableShape[]): Promise<void> {
  if (shapes.length === 0) return;
  await client.query(`SET LOCAL lock_timeout = '60s'`);
  await client.query(`LOCK TABLE ${shapes.map(quoteShape).join(', ')} IN SHARE ROW EXCLUSIVE MODE`);
  await checkEmpty(client, shapes);
}

/** What somebody wrote and deleted before the region was held reaches nobody: its slots begin here. */
export async function skipOwnPast(client: pg.Client, others: readonly string[]): Promise<void> {
  // Durable, so that the log is written out up to here.
  await client.query('SET synchronous_commit = on');
  await client.query(`SELECT pg_logical_emit_message(true, 'lockstep.look', '')`);
  await client.query(
    `SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn()) FROM pg_replication_slots
     WHERE slot_name = ANY ($1) AND database = current_database()`,
    [[OWN_SLOT, ...others.map(nameFor)]],
  );
}

/** Within the transaction that fills it: people may write once it is committed. */
export async function openNewcomer(client: pg.Client): Promise<void> {
  await client.query(`UPDATE ${SCHEMA}.regions SET is_joining = false`);
}

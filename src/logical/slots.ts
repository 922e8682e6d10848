import type pg from 'pg';
import { LockstepError } from '../model/errors.ts';
import { parseLsn } from '../model/lsn.ts';
import type { Lsn } from '../model/lsn.ts';
import type { Timeline } from '../model/timeline.ts';
import { quoteIdentifier, quoteLiteral } from './core/quote.ts';
import { checkTimeline, connectToLeader, readServerVersion } from './endpoints.ts';

export interface SlotOptions {
  readonly from: string;
  readonly slot: string;
  /** Goes with its connection: for a copy that needs only the snapshot. */
  readonly isTemporary?: boolean;
  /** From PostgreSQL 17 on it is kept on the followers too. Default true where the server can. */
  readonly failover?: boolean;
  /** Makes it only on this timeline of the server; throws NO_LEADER, retryable, on another. */
  readonly timeline?: Timeline;
}

/** A slot that was just made, and a view of the database as of its first position. */
export interface CreatedSlot {
  /** Transactions that commit from here on are sent; those before are in the snapshot. */
  readonly consistentLsn: Lsn;
  /** For SET TRANSACTION SNAPSHOT on the same server, until {@link release}. */
  readonly snapshot: string;
  /** Lets the snapshot go; a temporary slot goes with it. */
  release(): Promise<void>;
}

/**
 * Makes a logical slot for pgoutput with an exported snapshot. Throws PostgreSQL's own errors: 42710 when it
 * exists, 53400 when max_replication_slots is reached, 55000 while wal_level is not logical.
 */
export async function createSlot(options: SlotOptions): Promise<CreatedSlot> {
  const client = await connectToLeader(options.from, {
    applicationName: `lockstep slot ${options.slot}`,
    replication: true,
  });
  try {
    if (options.timeline !== undefined) await checkTimeline(client, options.timeline);
    const version = await readServerVersion(client);
    const isKept = version >= 170_000 && options.isTemporary !== true && options.failover !== false;
    const settings = [`SNAPSHOT 'export'`, ...(isKept ? ['FAILOVER true'] : [])];
    const { rows } = await client.query<{ consistent_point: string; snapshot_name: string }>(
      `CREATE_REPLICATION_SLOT ${quoteIdentifier(options.slot)}${options.isTemporary === true ? ' TEMPORARY' : ''} LOGICAL pgoutput (${settings.join(', ')})`,
    );
    const [row] = rows;
    if (row === undefined) {
      throw new LockstepError('POSTGRES_FAILED', 'The server made a slot and told nothing of it.');
    }
    return {
      consistentLsn: parseLsn(row.consistent_point),
      snapshot: row.snapshot_name,
      release: () => client.end(),
    };
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/** Drops a slot that nobody reads; does nothing when there is none. On any connection to the leader. */
export async function dropSlot(client: pg.Client, slot: string): Promise<void> {
  await client.query(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
}

/**
 * Gives a slot that the server got from its leader, when it followed one, another name: PostgreSQL lets nobody drop the former
 * once the server follows again. Nobody may read it meanwhile. On a leader of PostgreSQL 17 or later.
 */
export async function renameSyncedSlot(from: string, slot: string, to: string): Promise<void> {
  const client = await connectToLeader(from, { applicationName: `lockstep slot ${to}`, replication: true });
  try {
    await client.query(`SELECT pg_copy_logical_replication_slot(${quoteLiteral(slot)}, ${quoteLiteral(to)})`);
    await client.query(`ALTER_REPLICATION_SLOT ${quoteIdentifier(to)} (FAILOVER true)`);
  } finally {
    await client.end();
  }
}

import type pg from 'pg';
import type { Clock } from '../../model/clock.ts';
import { untilNewProcess } from '../../postgres/new-process.ts';
import type { ExecutorOptions } from '../agent-parts.ts';

const CHECK_MS = 2;
const NEW_PROCESS_TIMEOUT_MS = 1_000;
/** For PostgreSQL's answers, besides what transactions may take. */
const ANSWER_TIMEOUT_MS = 10_000;

type Local = Pick<ExecutorOptions['local'], 'withClient' | 'role' | 'applySettings' | 'changes' | 'server'>;

/** How transactions ended before a switchover. */
export interface EndedTransactions {
  /** Those that did not end in time, and that PostgreSQL's end will roll back. */
  readonly open: number;
  /** When writes began to be held, by the clock. */
  readonly heldSinceMs: number;
}

/** Where the leader's PostgreSQL listens. */
interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Lets no transaction begin to write any more, and waits until those that may have written have ended, for
 * `limitMs` at most. A statement that would write in a new one is refused (25006), so surely has no effect, upon
 * which a client waits for the next leader. See docs/leader-follower.md, "Switchover".
 */
export async function letTransactionsEnd(
  local: Local,
  address: Address,
  clock: Clock,
  limitMs: number,
): Promise<EndedTransactions> {
  if (limitMs === 0) return { open: 0, heldSinceMs: clock.nowMs() };
  const hold = async (client: pg.Client): Promise<EndedTransactions> => {
    const heldSinceMs = clock.nowMs();
    const leftMs = (): number => heldSinceMs + limitMs - clock.nowMs();
    await setHandingOver(local, true);
    const isInEffect = await untilInEffect(client, address, clock, leftMs);
    return { open: isInEffect ? await untilEnded(client, clock, leftMs) : 0, heldSinceMs };
  };
  // It logs in before writes are held: that takes as long as all the rest.
  return local.withClient(hold, 'postgres', limitMs + ANSWER_TIMEOUT_MS);
}

/** Lets new transactions only read, or write again. */
export function setHandingOver(local: Local, isHandingOver: boolean): Promise<void> {
  return local.changes.run(null, null, async () => {
    local.role.isHandingOver = isHandingOver;
    await local.applySettings();
    local.server.reload();
  });
}

/**
 * Resolves once every transaction that begins only reads; with false when that cannot be had, as where the owner's own
 * settings say otherwise. PostgreSQL tells its sessions one by one: this one may be the first of them, but a process that
 * PostgreSQL makes from then on comes after the last.
 */
async function untilInEffect(
  client: pg.Client,
  address: Address,
  clock: Clock,
  leftMs: () => number,
): Promise<boolean> {
  for (;;) {
    const { rows } = await client.query<{ is_told: boolean; only_reads: boolean }>(
      `SELECT current_setting('lockstep.is_handing_over', true) = 'on' AS is_told,
         current_setting('default_transaction_read_only') = 'on' AS only_reads`,
    );
    const seen = rows[0];
    // Without its answer somebody may not have been told, whose transaction ends with PostgreSQL then.
    if (seen?.is_told === true) {
      const patienceMs = Math.max(1, Math.min(leftMs(), NEW_PROCESS_TIMEOUT_MS));
      await untilNewProcess(address, patienceMs).catch(() => undefined);
    }
    if (seen === undefined || seen.is_told || leftMs() < 0) return seen?.only_reads ?? false;
    await clock.sleep(CHECK_MS);
  }
}

async function untilEnded(client: pg.Client, clock: Clock, leftMs: () => number): Promise<number> {
  let since: string | null = null;
  for (;;) {
    const seen = await countOpen(client, since);
    if (seen.open === 0 || leftMs() < 0) return seen.open;
    ({ since } = seen);
    await clock.sleep(CHECK_MS);
  }
}

interface Open {
  readonly since: string;
  readonly open: number;
}

/** How many sessions are in a transaction from before `since`, by default now. One that has just begun its statement may not show it yet. */
async function countOpen(client: pg.Client, since: string | null): Promise<Open> {
  const { rows } = await client.query<Open>(
    `WITH moment AS MATERIALIZED (SELECT coalesce($1::timestamptz, clock_timestamp()) AS since)
     SELECT since::text,
       (SELECT count(*)::int FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
           AND (xact_start < since OR (state = 'active' AND query_start < since))) AS open
       FROM moment`,
    [since],
  );
  return rows[0] as Open;
}

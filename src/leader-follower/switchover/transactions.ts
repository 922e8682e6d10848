import type { Clock } from '../../model/clock.ts';
import type { ExecutorOptions } from '../agent-parts.ts';

const CHECK_MS = 2;

type Local = Pick<ExecutorOptions['local'], 'withClient' | 'role' | 'applySettings' | 'changes' | 'server'>;

/** How transactions ended before a switchover. */
export interface EndedTransactions {
  /** Those that did not end in time, and that PostgreSQL's end will roll back. */
  readonly open: number;
}

/**
 * Lets no transaction begin to write any more, and waits until those that may have written have ended, for
 * `limitMs` at most. A statement that would write in a new one is refused (25006), so surely has no effect, upon
 * which a client waits for the next leader. See docs/leader-follower.md, "Switchover".
 */
export async function letTransactionsEnd(
  local: Local,
  clock: Clock,
  limitMs: number,
): Promise<EndedTransactions> {
  if (limitMs === 0) return { open: 0 };
  const isLate = lateAfter(clock, limitMs);
  await setHandingOver(local, true);
  const since = await untilInEffect(local, clock, isLate);
  return since === null ? { open: 0 } : untilEnded(local, clock, isLate, since);
}

function lateAfter(clock: Clock, limitMs: number): () => boolean {
  const deadlineMs = clock.nowMs() + limitMs;
  return () => clock.nowMs() > deadlineMs;
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
 * The server's time as of which every transaction that begins only reads; null when that cannot be had, as where
 * the owner's own settings say otherwise. A process that PostgreSQL makes anew has the setting only once PostgreSQL
 * has told it to those that were there.
 */
async function untilInEffect(local: Local, clock: Clock, isLate: () => boolean): Promise<string | null> {
  for (;;) {
    const seen = await local.withClient(async (client) => {
      const { rows } = await client.query<{ since: string | null; is_told: boolean }>(
        `SELECT current_setting('lockstep.is_handing_over', true) = 'on' AS is_told,
           CASE WHEN current_setting('default_transaction_read_only') = 'on'
             THEN clock_timestamp()::text END AS since`,
      );
      return rows[0];
    });
    if (seen === undefined || seen.is_told || isLate()) return seen?.since ?? null;
    await clock.sleep(CHECK_MS);
  }
}

async function untilEnded(
  local: Local,
  clock: Clock,
  isLate: () => boolean,
  since: string,
): Promise<EndedTransactions> {
  return local.withClient(async (client) => {
    for (;;) {
      const { rows } = await client.query<{ open: number }>(
        `SELECT count(*)::int AS open FROM pg_stat_activity
          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < $1::timestamptz`,
        [since],
      );
      const open = rows[0]?.open ?? 0;
      if (open === 0 || isLate()) return { open };
      await clock.sleep(CHECK_MS);
    }
  });
}

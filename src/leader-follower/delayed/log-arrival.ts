import type { Clock } from '../../model/clock.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { LogKeeper } from './log-keeper.ts';
import { connectAsSuperuser } from './superuser.ts';

const ARRIVAL_TIMEOUT_MS = 10_000;
const CHECK_MS = 20;

/** Up to where a delayed node has the log, where that may not be all that had been written. */
export interface LogGap {
  /** Null where it has none yet. */
  readonly receivedLsn: string | null;
  /** What the leader had written; null where no leader could be asked. */
  readonly leaderLsn: string | null;
}

/** Where a leader's log ends. */
export interface WrittenEnd {
  readonly timeline: number;
  readonly lsn: Lsn;
}

type Arriving = Pick<LogKeeper, 'timeline' | 'flushedLsn'>;

/**
 * Waits a while until all is here that the leader had on disk (null where none could be asked): a mistake that was just made is not
 * yet in the log of a node that stays behind. Null once it is, else what is missing.
 */
export async function untilArrived(
  clock: Clock,
  keeper: Arriving,
  written: WrittenEnd | null,
): Promise<LogGap | null> {
  const isHere = await untilTrue(
    clock,
    () =>
      keeper.timeline !== null &&
      keeper.flushedLsn !== null &&
      (written === null || (keeper.timeline >= written.timeline && keeper.flushedLsn >= written.lsn)),
  );
  if (isHere && written !== null) return null;
  return {
    receivedLsn: keeper.flushedLsn === null ? null : formatLsn(keeper.flushedLsn),
    leaderLsn: written === null ? null : formatLsn(written.lsn),
  };
}

async function untilTrue(clock: Clock, isTrue: () => boolean): Promise<boolean> {
  const deadlineMs = clock.nowMs() + ARRIVAL_TIMEOUT_MS;
  while (!isTrue()) {
    if (clock.nowMs() >= deadlineMs) return false;
    await clock.sleep(CHECK_MS);
  }
  return true;
}

/** What this leader has on disk. Rejects as pg does. */
export async function readWrittenEnd(config: ClusterConfig, leader: NodeConfig): Promise<WrittenEnd | null> {
  const client = await connectAsSuperuser(config, leader, 'postgres');
  try {
    const { rows } = await client.query<{ lsn: string; file: string }>(
      'SELECT lsn::text, pg_walfile_name(lsn) AS file FROM pg_current_wal_flush_lsn() AS lsn',
    );
    const [end] = rows;
    return end === undefined
      ? null
      : { timeline: Number.parseInt(end.file.slice(0, 8), 16), lsn: parseLsn(end.lsn) };
  } finally {
    await client.end().catch(() => undefined);
  }
}

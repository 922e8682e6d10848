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

interface ArrivalOptions {
  readonly clock: Clock;
  readonly config: ClusterConfig;
  readonly keeper: Pick<LogKeeper, 'timeline' | 'flushedLsn'>;
  readonly leader: () => NodeConfig | null;
}

/**
 * Waits a while until all is here that the leader had on disk when this was called: a mistake that was just made is in what a node
 * stays behind by, and not yet in its log. Null once it is, else what is missing.
 */
export async function untilArrived(options: ArrivalOptions): Promise<LogGap | null> {
  const { keeper } = options;
  const written = await readEnd(options).catch(() => null);
  const isHere = await untilTrue(
    options.clock,
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

/** Waits a while for the first of the log; false where none came. */
export function untilAnyLog({ clock, keeper }: Pick<ArrivalOptions, 'clock' | 'keeper'>): Promise<boolean> {
  return untilTrue(clock, () => keeper.timeline !== null && keeper.flushedLsn !== null);
}

async function untilTrue(clock: Clock, isTrue: () => boolean): Promise<boolean> {
  const deadlineMs = clock.nowMs() + ARRIVAL_TIMEOUT_MS;
  while (!isTrue()) {
    if (clock.nowMs() >= deadlineMs) return false;
    await clock.sleep(CHECK_MS);
  }
  return true;
}

async function readEnd({
  config,
  leader,
}: ArrivalOptions): Promise<{ readonly timeline: number; readonly lsn: Lsn } | null> {
  const upstream = leader();
  if (upstream === null) return null;
  const client = await connectAsSuperuser(config, upstream, 'postgres');
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

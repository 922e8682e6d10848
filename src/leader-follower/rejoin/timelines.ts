import { maxLsn } from '../../model/lsn.ts';
import type { Clock } from '../../model/clock.ts';
import { nextTimeline, parseTimeline } from '../../model/timeline.ts';
import type { Timeline } from '../../model/timeline.ts';
import { newestTimeline, readTimelineHistory } from '../../postgres/data-folder.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { LogEnd } from './log-end.ts';

/**
 * No two promotions take the same number, for what compares timelines could not tell them apart then. A winner
 * announces its number in the register with its election (Leadership.announcedTimeline), and nobody else is elected
 * who could take it again (decideElection). Proof: docs/internals/failover.md.
 */

/** The history of what was seen running in `dataDir`, and the newest timeline known there. */
export async function readTimelines(
  dataDir: string,
  seen: Probe,
): Promise<Pick<LogEnd, 'history' | 'newestTimeline'>> {
  const newest = newestTimeline(dataDir, seen.timeline);
  return { history: await readTimelineHistory(dataDir, seen.timeline), newestTimeline: newest };
}

const LOOK_MS = 5;

/** Where the log of a follower that receives nothing any more ends; null when that does not show in time, or it leads. */
export async function readLogEnd(
  probe: () => Promise<Probe | null>,
  dataDir: string,
  clock: Clock,
  timeoutMs: number,
): Promise<LogEnd | null> {
  const deadline = clock.nowMs() + timeoutMs;
  while (clock.nowMs() < deadline) {
    const seen = await probe();
    if (seen !== null && !seen.isInRecovery) return null;
    // Right after a start, the position counts only once all that lies in pg_wal has been read.
    if (seen !== null && !seen.hasReceiver && (seen.hasStreamed || seen.isAtLogEnd)) {
      return {
        ...(await readTimelines(dataDir, seen)),
        receivedLsn: maxLsn(seen.receivedLsn, seen.replayedLsn),
        replayedLsn: seen.replayedLsn,
      };
    }
    await clock.sleep(LOOK_MS);
  }
  return null;
}

/**
 * The number that a promotion of the running follower takes, null when it does not answer. What is announced still
 * holds, unless a promotion that broke off has begun it.
 */
export async function promotionTimeline(
  local: { readonly dataDir: string; readonly probe: () => Promise<Probe | null> },
  announced: Timeline | null,
): Promise<Timeline | null> {
  const own = announced === null ? (await local.probe())?.timeline : parseTimeline(announced - 1);
  return own === undefined ? null : nextTimeline(newestTimeline(local.dataDir, own));
}

import type { Lsn } from '../../../model/lsn.ts';
import { SILENT_FOLLOWER_MS } from '../../patience.ts';

/** What a leader tells of its synchronous commits: PostgreSQL waits for `required` of `members`. */
export interface Acknowledgement {
  readonly required: number;
  readonly members: readonly string[];
  /** Of them and of the recorded sync set: who has acknowledged nothing more for seconds, though there is more. */
  readonly silent: readonly string[];
}

/** How far a follower had got when it last got on, and when that was seen. */
export interface Progress {
  readonly lsn: Lsn | null;
  readonly atMs: number;
}

/**
 * A follower's progress after one more look. One that is slow gets on; one that hangs does not, though its
 * connection may stand; one that is away acknowledges nothing, whatever it has. `flushLsn` is null of both at times.
 */
export function observeProgress(
  before: Progress | undefined,
  leaderLsn: Lsn,
  flushLsn: Lsn | null,
  nowMs: number,
): Progress {
  if (before === undefined) return { lsn: flushLsn, atMs: nowMs };
  if (flushLsn === null) return before;
  const getsOn = flushLsn >= leaderLsn || before.lsn === null || flushLsn > before.lsn;
  return getsOn ? { lsn: flushLsn, atMs: nowMs } : before;
}

export function isSilent({ atMs }: Progress, nowMs: number): boolean {
  return nowMs - atMs >= SILENT_FOLLOWER_MS;
}

/** Whom synchronous commits wait for in vain: nobody, where enough others acknowledge. */
export function waitedForInVain({ required, members, silent }: Acknowledgement): readonly string[] {
  const silentMembers = members.filter((name) => silent.includes(name));
  return members.length - silentMembers.length < required ? silentMembers : [];
}

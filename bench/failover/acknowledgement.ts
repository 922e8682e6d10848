/** Who wrote: the plain client and Lockstep's wait for a follower's disk, the direct ones for the leader's only. */
export type Writer = 'plain' | 'lockstep' | 'direct';

/** A write that a client was told to be committed. Times are those of `nowMs`. */
export interface Acknowledgement {
  readonly id: number;
  readonly writer: Writer;
  /** Null where the client does not know. */
  readonly node: string | null;
  readonly begunAtMs: number;
  readonly endedAtMs: number;
  /** What the server's clock said right after its commit; null where it was not asked. */
  readonly committedAtMs: number | null;
}

/** When a fault was made: before its first step, and after its last. */
export interface Strike {
  readonly atMs: number;
  readonly doneAtMs: number;
}

/** Seconds from the fault to the first acknowledgement of a write that began after it; null when there is none. */
export function secondsToFirstWrite(
  acknowledgements: readonly Acknowledgement[],
  writer: Writer,
  strike: Strike,
): number | null {
  const ends = acknowledgements
    .filter((one) => one.writer === writer && one.begunAtMs >= strike.doneAtMs)
    .map((one) => one.endedAtMs);
  return ends.length === 0 ? null : (least(ends) - strike.atMs) / 1_000;
}

/** The longest time in seconds without an acknowledgement, from the last one before the fault up to `untilMs`. */
export function longestPauseSeconds(
  acknowledgements: readonly Acknowledgement[],
  writer: Writer,
  strike: Strike,
  untilMs: number,
): number {
  const ends = acknowledgements
    .filter((one) => one.writer === writer && one.endedAtMs <= untilMs)
    .map((one) => one.endedAtMs)
    .toSorted((a, b) => a - b);
  const firstAfter = ends.findIndex((endedAtMs) => endedAtMs > strike.atMs);
  const from = firstAfter < 0 ? ends.length : firstAfter;
  const marks = [ends[from - 1] ?? strike.atMs, ...ends.slice(from), untilMs];
  let longestMs = 0;
  for (let index = 1; index < marks.length; index += 1)
    longestMs = Math.max(longestMs, (marks[index] as number) - (marks[index - 1] as number));
  return longestMs / 1_000;
}

/**
 * Acknowledgements of the old leader that it gave after another node's first one, through connections that
 * each go to one node. By the servers' own stamps, so that it does not matter when an answer was read.
 */
export function countOverlaps(acknowledgements: readonly Acknowledgement[], oldLeader: string): number {
  const direct = acknowledgements.filter((one) => one.writer === 'direct' && one.committedAtMs !== null);
  const others = direct.filter((one) => one.node !== oldLeader).map((one) => one.committedAtMs as number);
  if (others.length === 0) return 0;
  const first = least(others);
  return direct.filter((one) => one.node === oldLeader && (one.committedAtMs as number) > first).length;
}

/** What was acknowledged and is not in the database. */
export interface Loss {
  readonly sync: number;
  readonly async: number;
  /** From the first lost acknowledgement to the fault, or to the last lost one when that came later. */
  readonly windowMs: number;
}

/** `isSync` is false where no write waits for a follower. */
export function measureLoss(
  acknowledgements: readonly Acknowledgement[],
  found: ReadonlySet<number>,
  strike: Strike,
  isSync: boolean,
): Loss {
  const lost = acknowledgements.filter((one) => !found.has(one.id));
  const sync = isSync ? lost.filter((one) => one.writer !== 'direct').length : 0;
  const ends = lost.map((one) => one.endedAtMs).toSorted((a, b) => a - b);
  const windowMs = ends.length === 0 ? 0 : Math.max(strike.atMs, ends.at(-1) ?? 0) - (ends[0] as number);
  return { sync, async: lost.length - sync, windowMs };
}

function least(values: readonly number[]): number {
  return values.reduce((found, value) => Math.min(found, value), Number.POSITIVE_INFINITY);
}

import { parseTimeline } from '../model/timeline.ts';
import { formatToken, parseToken } from '../model/token.ts';
import type { ConsistencyToken } from '../model/token.ts';
import { advanceToken, UNREACHED_LSN } from './core/session.ts';

/** The end of a snapshot that the session was shown by a follower, and that the leader may not show yet. */
export interface FollowerSight {
  readonly timeline: number;
  readonly snapshotEnd: string;
}

/** What one session has seen so far, moved on by every answer. */
export class SessionState {
  #token: ConsistencyToken | null;
  /** When a write's position stayed unknown, for which the token stands at {@link UNREACHED_LSN}. */
  #unknownSinceMs = 0;
  #followerSight: FollowerSight | null = null;

  /** Throws CONFIG_INVALID when `text` is not a token. */
  constructor(text: string | undefined) {
    this.#token = text === undefined ? null : parseToken(text);
  }

  get token(): ConsistencyToken | null {
    return this.#token;
  }

  get text(): string | null {
    return this.#token === null ? null : formatToken(this.#token);
  }

  /** What the leader must show before it answers again; null when it shows all that was seen. */
  get followerSight(): FollowerSight | null {
    return this.#followerSight;
  }

  sawOnFollower(timeline: number, snapshotEnd: string): void {
    const known = this.#followerSight;
    const isNewer =
      known === null || known.timeline < timeline || BigInt(known.snapshotEnd) < BigInt(snapshotEnd);
    if (isNewer) this.#followerSight = { timeline, snapshotEnd };
  }

  /** The leader has shown `sight`, and will go on to. */
  leaderShowed(sight: FollowerSight): void {
    if (this.#followerSight === sight) this.#followerSight = null;
  }

  /** A state was seen in answer to what was sent at `askedAtMs`. */
  advance(seen: ConsistencyToken, askedAtMs: number): void {
    const isPlaceholder = this.#token?.lsn === UNREACHED_LSN && this.#token.timeline <= seen.timeline;
    // Whatever was asked after the write of unknown position shows that write too.
    this.#token = isPlaceholder && askedAtMs >= this.#unknownSinceMs ? seen : advanceToken(this.#token, seen);
  }

  /** Something was written whose position is unknown: only the leader can show it for now. */
  advanceBeyondKnowledge(leaderTimeline: number, nowMs: number): void {
    this.#unknownSinceMs = nowMs;
    this.#token = advanceToken(this.#token, { timeline: parseTimeline(leaderTimeline), lsn: UNREACHED_LSN });
  }
}

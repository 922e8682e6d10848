import { parseTimeline } from '../model/timeline.ts';
import { formatToken, parseToken } from '../model/token.ts';
import type { ConsistencyToken } from '../model/token.ts';
import type { NodeKey } from './core/topology.ts';
import { advanceToken, UNREACHED_LSN } from './core/session.ts';

/** The end of a snapshot that the session was shown by a follower, and that the leader may not show yet. */
export interface FollowerSight {
  readonly timeline: number;
  readonly snapshotEnd: string;
}

/** A connection, as far as a session cares. */
interface Connected {
  readonly node: NodeKey;
  readonly openedAtMs: number;
}

/** What one session has seen so far, moved on by every answer. */
export class SessionState {
  /** What every server must show: the session's writes, and what it saw on other servers. */
  #base: ConsistencyToken | null;
  /** When a write's position stayed unknown, for which the token stands at {@link UNREACHED_LSN}. */
  #unknownSinceMs = 0;
  /** The follower read from last, and a position that nothing it has shown is past. */
  #shown: { readonly node: NodeKey; readonly bound: ConsistencyToken; readonly atMs: number } | null = null;
  #followerSight: FollowerSight | null = null;

  /** Throws CONFIG_INVALID when `text` is not a token. */
  constructor(text: string | undefined) {
    this.#base = text === undefined ? null : parseToken(text);
  }

  get token(): ConsistencyToken | null {
    return this.#shown === null ? this.#base : advanceToken(this.#base, this.#shown.bound);
  }

  get text(): string | null {
    const { token } = this;
    return token === null ? null : formatToken(token);
  }

  /** The follower that this session read from last. */
  get lastFollower(): NodeKey | null {
    return this.#shown?.node ?? null;
  }

  /**
   * What a follower must have replayed to answer on this connection. A server never goes back while it
   * runs, so what it has shown itself needs no check on a connection that was open then.
   */
  requirementOn({ node, openedAtMs }: Connected): ConsistencyToken | null {
    const shown = this.#shown;
    return shown !== null && shown.node === node && openedAtMs <= shown.atMs ? this.#base : this.token;
  }

  /** What the leader must show before it answers again; null when it shows all that was seen. */
  get followerSight(): FollowerSight | null {
    return this.#followerSight;
  }

  /** A follower showed, in answer to what was sent at `askedAtMs`, a state of which nothing is past `bound`. */
  readOnFollower(node: NodeKey, bound: ConsistencyToken, askedAtMs: number): void {
    const shown = this.#shown;
    const isSame = shown !== null && shown.node === node;
    if (shown !== null && !isSame) this.#base = advanceToken(this.#base, shown.bound);
    this.#shown = { node, bound: isSame ? advanceToken(shown.bound, bound) : bound, atMs: askedAtMs };
  }

  /** Where a follower's snapshot ended: the leader must show as much, see {@link followerSight}. */
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

  /** The leader showed a state in answer to what was sent at `askedAtMs`. */
  advance(seen: ConsistencyToken, askedAtMs: number): void {
    const isPlaceholder = this.#base?.lsn === UNREACHED_LSN && this.#base.timeline <= seen.timeline;
    // Whatever was asked after the write of unknown position shows that write too.
    this.#base = isPlaceholder && askedAtMs >= this.#unknownSinceMs ? seen : advanceToken(this.#base, seen);
  }

  /** Something was written whose position is unknown: only the leader can show it for now. */
  advanceBeyondKnowledge(leaderTimeline: number, nowMs: number): void {
    this.#unknownSinceMs = nowMs;
    this.#base = advanceToken(this.#base, { timeline: parseTimeline(leaderTimeline), lsn: UNREACHED_LSN });
  }
}

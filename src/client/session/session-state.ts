import type { ExchangeObserver } from '../../wire/contract.ts';
import type { Lsn } from '../../model/lsn.ts';
import { parseTimeline } from '../../model/timeline.ts';
import type { Timeline } from '../../model/timeline.ts';
import type { ConsistencyToken, SessionToken } from '../../model/token.ts';
import type { UnconfirmedWrite } from '../cluster/core/lost-write.ts';
import type { NodeKey } from '../../model/node.ts';
import { Pending } from './pending.ts';
import { advanceToken, judgeUnproven, UNREACHED_LSN } from './core/session.ts';

/** The end of a snapshot that the session was shown by a follower, and that the leader may not show yet. */
export interface FollowerSnapshot {
  readonly timeline: number;
  readonly snapshotEnd: string;
}

/** A connection, as far as a session cares. */
interface Connected {
  readonly node: NodeKey;
  readonly openedAtMs: number;
}

/** How a session begins, beyond an empty one. */
export interface SessionStart {
  /**
   * What another process handed on, or somebody made up: what it says was seen is unproven until the leader
   * shows that it has come that far.
   */
  readonly token?: SessionToken | null;
  readonly maxStalenessMs?: number | null;
  readonly asksAlong?: boolean;
  /** Whether what it was shown binds it too. Default true; false where many callers share it for their writes. */
  readonly isMonotonic?: boolean;
  /** The session of all callers, which is to show what is written in this one as well. */
  readonly shared?: SessionState | null;
  /** Told of each of the session's flights. */
  readonly observer?: ExchangeObserver | null;
  /** Called when that turns out to be false. */
  readonly onDisproved?: () => void;
}

/** A state that was seen; `end` is the end of the leader's log, where the leader answered. */
interface SeenState extends ConsistencyToken {
  readonly end?: Lsn;
}

interface UnaskedRead {
  readonly timeline: Timeline;
  /** When the newest such read was sent, and when it had ended. */
  readonly askedAtMs: number;
  readonly endedAtMs: number;
}

/** Whether it is a session of somebody's own, rather than what all callers share. */
export function isOwnSession(session: SessionState | null): session is SessionState {
  return session?.isMonotonic === true;
}

/** Lets whoever has the session know of the write until it settles; of what all callers share, nobody asks. */
export function holdWrite<T>(session: SessionState | null, write: Promise<T>): Promise<T> {
  return isOwnSession(session) ? session.writes.hold(write) : write;
}

/** What one session has seen so far, moved on by every answer. */
export class SessionState {
  /** What every server must show: the session's writes, and what it saw on other servers. */
  #base: ConsistencyToken | null;
  /** When a write's position stayed unknown, for which the token stands at {@link UNREACHED_LSN}. */
  #unknownSinceMs = 0;
  /** When it was last told by the leader of something new to wait for. */
  #movedAtMs = Number.NEGATIVE_INFINITY;
  /** The follower read from last, and a position that nothing it has shown is past. */
  #shown: { readonly node: NodeKey; readonly bound: ConsistencyToken | null; readonly atMs: number } | null =
    null;
  /** Followers read from without asking how far they are: what they have shown is not bounded yet. */
  readonly #unasked = new Map<NodeKey, UnaskedRead>();
  /** Whether each read asks that along: it costs a little, and is needed where a session moves or is handed on. */
  asksAlong: boolean;
  #followerSnapshot: FollowerSnapshot | null = null;

  /** What the session is said to have seen, until the leader has shown that it can have. */
  #unproven: ConsistencyToken | null = null;
  #unconfirmed: UnconfirmedWrite | null;
  /** When that write was acknowledged. */
  #unconfirmedSinceMs = 0;
  readonly #onDisproved: () => void;
  /** How old what it reads may be; null for no limit. */
  readonly maxStalenessMs: number | null;
  readonly observer: ExchangeObserver | undefined;
  /**
   * Whether it never goes back behind what it was shown, and is told of writes that a failover took back. One
   * that many callers share is neither: they would wait for each other's reads, and be told of others' writes.
   */
  readonly isMonotonic: boolean;
  /** What is under way and may move it on: writes, and connections on which some are about to be sent. */
  readonly writes: Pending = new Pending();
  /** The session of all callers, where this is one of a few: it moves on by what is written here. */
  readonly shared: SessionState | null;

  constructor(start: SessionStart = {}) {
    const { token, maxStalenessMs, asksAlong, observer, onDisproved } = start;
    this.observer = observer ?? undefined;
    this.isMonotonic = start.isMonotonic ?? true;
    this.shared = start.shared ?? null;
    this.asksAlong = asksAlong ?? false;
    // A write of unknown position names no position that could be checked.
    const isUnproven = token != null && token.seen.lsn !== UNREACHED_LSN;
    this.#base = token == null || isUnproven ? null : token.seen;
    if (isUnproven) this.#unproven = token.seen;
    this.#unconfirmed = token?.unconfirmed == null ? null : { ...token.unconfirmed, after: null };
    this.maxStalenessMs = maxStalenessMs ?? null;
    this.#onDisproved = onDisproved ?? ((): void => undefined);
  }

  get token(): ConsistencyToken | null {
    const required = this.#required;
    const bound = this.#shown?.bound ?? null;
    return bound === null ? required : advanceToken(required, bound);
  }

  /**
   * What this session would hand on; null before it has seen anything. While a follower has not told yet how
   * far it was, only the leader surely shows as much.
   */
  get handover(): SessionToken | null {
    let seen = this.token;
    for (const { timeline } of this.#unasked.values())
      seen = advanceToken(seen, { timeline, lsn: UNREACHED_LSN });
    return seen === null ? null : { seen, unconfirmed: this.#unconfirmed };
  }

  get unproven(): ConsistencyToken | null {
    return this.#unproven;
  }

  /** The newest write that waited for no follower: a failover may take it back. */
  get unconfirmedWrite(): UnconfirmedWrite | null {
    return this.#unconfirmed;
  }

  get #required(): ConsistencyToken | null {
    return this.#unproven === null ? this.#base : advanceToken(this.#base, this.#unproven);
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
    return shown !== null && shown.node === node && openedAtMs <= shown.atMs ? this.#required : this.token;
  }

  /** What the leader must show before it answers again; null when it shows all that was seen. */
  get followerSnapshot(): FollowerSnapshot | null {
    return this.#followerSnapshot;
  }

  /** A follower showed, in answer to what was sent at `askedAtMs`, a state of which nothing is past `bound`. */
  readOnFollower(node: NodeKey, bound: ConsistencyToken, askedAtMs: number): void {
    const shown = this.#shown;
    const isSame = shown !== null && shown.node === node;
    if (!isSame) this.#leaveFollower();
    this.#shown = { node, bound: isSame ? advanceToken(shown.bound, bound) : bound, atMs: askedAtMs };
    this.#settleUnasked(node, askedAtMs);
  }

  /** A follower answered what was sent at `askedAtMs`, and was not asked how far it was. */
  readUnasked(node: NodeKey, timeline: Timeline, askedAtMs: number, endedAtMs: number): void {
    const shown = this.#shown;
    const isSame = shown !== null && shown.node === node;
    if (!isSame) this.#leaveFollower();
    this.#shown = { node, bound: isSame ? shown.bound : null, atMs: askedAtMs };
    this.#unasked.set(node, { timeline, askedAtMs, endedAtMs });
  }

  #leaveFollower(): void {
    const bound = this.#shown?.bound ?? null;
    if (bound !== null) this.#base = advanceToken(this.#base, bound);
  }

  /** Followers besides `node` that must be asked before the session reads there; null for the leader. */
  unaskedBeside(node: NodeKey | null): NodeKey[] {
    return [...this.#unasked.keys()].filter((unasked) => unasked !== node);
  }

  /** Whether {@link unaskedBeside} names any. */
  hasUnaskedBeside(node: NodeKey | null): boolean {
    const { size } = this.#unasked;
    return size > 1 || (size === 1 && !(node !== null && this.#unasked.has(node)));
  }

  /** Whether what this server has shown is not bounded, and it may have been another one since. */
  isUnaskedOn({ node, openedAtMs }: Connected): boolean {
    const unasked = this.#unasked.get(node);
    return unasked !== undefined && openedAtMs > unasked.askedAtMs;
  }

  /** When the last read that was not asked about was sent to this follower. */
  readAtMs(node: NodeKey): number {
    return this.#unasked.get(node)?.askedAtMs ?? Number.NEGATIVE_INFINITY;
  }

  /** A follower told, asked at `askedAtMs`, a position that nothing it had shown by then is past. */
  answeredLater(node: NodeKey, bound: ConsistencyToken, askedAtMs: number): void {
    const shown = this.#shown;
    if (shown?.node === node) this.#shown = { ...shown, bound: advanceToken(shown.bound, bound) };
    else this.#base = advanceToken(this.#base, bound);
    this.#settleUnasked(node, askedAtMs);
  }

  #settleUnasked(node: NodeKey, askedAtMs: number): void {
    const unasked = this.#unasked.get(node);
    if (unasked !== undefined && unasked.endedAtMs <= askedAtMs) this.#unasked.delete(node);
  }

  /** The follower cannot be asked any more. */
  dropUnasked(node: NodeKey): void {
    this.#unasked.delete(node);
  }

  /** Where a follower's snapshot ended: the leader must show as much, see {@link followerSnapshot}. */
  sawOnFollower(timeline: number, snapshotEnd: string): void {
    const known = this.#followerSnapshot;
    const isNewer = known === null || known.timeline < timeline || isSmaller(known.snapshotEnd, snapshotEnd);
    if (isNewer) this.#followerSnapshot = { timeline, snapshotEnd };
  }

  /** The leader has shown `snapshot`, and will go on to. */
  leaderShowed(snapshot: FollowerSnapshot): void {
    if (this.#followerSnapshot === snapshot) this.#followerSnapshot = null;
  }

  /** How long the session's last news from the leader has had to reach the followers. */
  ageMs(nowMs: number): number {
    return nowMs - this.#movedAtMs;
  }

  /** The leader has answered, so that there is something new to wait for: see {@link ageMs}. */
  heardFromLeader(nowMs: number): void {
    this.#movedAtMs = nowMs;
  }

  /** The leader showed a state in answer to what was sent at `askedAtMs`. */
  advance(seen: SeenState, askedAtMs: number): void {
    this.#judgeUnproven(seen);
    const write = this.#unconfirmed;
    if (write?.lsn === UNREACHED_LSN && write.timeline === seen.timeline && askedAtMs >= this.#unknownSinceMs)
      this.#unconfirmed = { ...write, lsn: seen.lsn };
    const isPlaceholder = this.#base?.lsn === UNREACHED_LSN && this.#base.timeline <= seen.timeline;
    // Whatever was asked after the write of unknown position shows that write too.
    this.#base = isPlaceholder && askedAtMs >= this.#unknownSinceMs ? seen : advanceToken(this.#base, seen);
  }

  /** Every answer is newer than what is unproven, so that the leader must have been past it. */
  #judgeUnproven({ timeline, end }: SeenState): void {
    const unproven = this.#unproven;
    if (unproven === null || end === undefined) return;
    const verdict = judgeUnproven(unproven, timeline, end);
    if (verdict === 'false') return this.disprove();
    if (verdict === 'open') return;
    this.#base = advanceToken(this.#base, unproven);
    this.#unproven = null;
  }

  /** The session cannot have seen what it was said to: only what answers have shown holds. */
  disprove(): void {
    this.#unproven = null;
    this.#onDisproved();
  }

  /** Whether only the leader surely shows what was written, until an answer of its tells a position. */
  isOpen(leaderTimeline: number): boolean {
    const base = this.#base;
    return base !== null && (base.lsn === UNREACHED_LSN || base.timeline < leaderTimeline);
  }

  /** A write that was acknowledged without a follower's confirmation. */
  wroteUnconfirmed(write: UnconfirmedWrite, nowMs: number): void {
    if (!this.isMonotonic) return;
    const known = this.#unconfirmed;
    if (known !== null && known.timeline === write.timeline && known.lsn > write.lsn) return;
    this.#unconfirmed = write;
    this.#unconfirmedSinceMs = nowMs;
  }

  /** A follower has the write that was sent at `startedAtMs`, and so everything acknowledged before. */
  wroteConfirmed(startedAtMs: number): void {
    if (startedAtMs >= this.#unconfirmedSinceMs) this.#unconfirmed = null;
  }

  /** The session has been told what became of its write, or need not be. */
  settleWrite(): void {
    this.#unconfirmed = null;
  }

  /** Something was written whose position is unknown: only the leader can show it for now. */
  advanceBeyondKnowledge(leaderTimeline: number, nowMs: number): void {
    this.#unknownSinceMs = nowMs;
    this.#base = advanceToken(this.#base, { timeline: parseTimeline(leaderTimeline), lsn: UNREACHED_LSN });
  }
}

/** Compares two whole numbers without sign or leading zeros by their digits. */
function isSmaller(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}

import { DRIFT_MARGIN } from '../../coordination/core/lease.ts';
import type { NodeId, Term } from '../../model/node.ts';

/**
 * Support lets an election begin before the lease runs out. The leader pings every member many times a
 * second, and each that answers promises not to help depose it for a while. The leader may write only while
 * enough of them answer; a candidate that gathers the fences of a majority therefore knows that it no longer
 * does. Rule and proof: docs/internals/failover.md.
 */

/**
 * How many members other than the holder must have lost it, and fence it, to stand in for an expired lease.
 * Members are the nodes that vote.
 */
export function suspicionQuorum(memberCount: number): number {
  return Math.floor(memberCount / 2) + 1;
}

/**
 * How many others must support the leader so that each suspicion quorum has one of them in it: one more where
 * the leader is no member, because all members may fence it then. 0 with two members of which one leads, where
 * no suspicion quorum can be found: only the lease's end allows an election there.
 */
export function supportersNeeded(memberCount: number, isHolderMember = true): number {
  return memberCount - suspicionQuorum(memberCount) + (isHolderMember ? 0 : 1);
}

/** What allows an election, and what it takes of the members. */
export interface FencesNeeded {
  /** How many members other than the holder must have fenced, the candidate included where it is one. */
  readonly quorum: number;
  /** Whether only members count whose promise to the holder ran out. */
  readonly isSuspicion: boolean;
}

/**
 * The fences of members without which a candidate may not take the register over. An expired lease alone does not
 * end the holder's failsafe, which rests on all members: one of them must have let go. A candidate that is a
 * member has, when its own promise ran out.
 */
export function fencesNeeded(
  ground: 'released' | 'expired' | 'suspected' | 'led-last',
  memberCount: number,
  isCandidateMember: boolean,
): FencesNeeded {
  if (ground === 'suspected') return { quorum: suspicionQuorum(memberCount), isSuspicion: true };
  if (ground === 'expired') return { quorum: 1, isSuspicion: !isCandidateMember };
  return { quorum: 0, isSuspicion: false };
}

/** The leader's word that it is there. */
export interface Ping {
  readonly holder: NodeId;
  readonly term: Term;
  /** The newest version of the register that the holder knows to be its own. */
  readonly version: number;
  /** How long an answer holds the leader up, counted from before the ping was sent. */
  readonly supportMs: number;
}

/** What a member knows when a ping arrives. */
export interface PingView {
  readonly ping: Ping;
  /** Term and holder of the newest register seen. */
  readonly term: Term;
  readonly holder: NodeId | null;
  /** See View.fencedAtVersion. */
  readonly fencedAtVersion: number;
}

/** Whether a member supports the leader; it then promises by {@link promiseUntilMs}. */
export function supportsLeader({ ping, term, holder, fencedAtVersion }: PingView): boolean {
  if (ping.term < term) return false;
  if (ping.term === term && holder !== ping.holder) return false;
  return ping.version > fencedAtVersion;
}

/**
 * Until when a member that answered at `nowMs` helps nobody to depose the leader by suspicion. Also granted
 * to a leader that is seen for the first time, and by a process that has just started, which may have
 * promised in an earlier life.
 */
export function promiseUntilMs(nowMs: number, supportMs: number): number {
  return nowMs + supportMs * DRIFT_MARGIN;
}

/**
 * Until when answers hold the leader up: `needed` others answered pings sent at or after that time less
 * `supportMs`. `sentAtMs` holds for each supporter when the newest ping that it answered had been sent.
 */
export function supportedUntilMs(sentAtMs: readonly number[], needed: number, supportMs: number): number {
  if (needed <= 0) return Number.POSITIVE_INFINITY;
  const oldestNeeded = sentAtMs.toSorted((a, b) => b - a)[needed - 1];
  return oldestNeeded === undefined ? Number.NEGATIVE_INFINITY : oldestNeeded + supportMs;
}

/** The limits of a leader's right to write, on its own monotonic clock. */
export interface RightLimits {
  /** The lease in the register. */
  readonly leaseUntilMs: number;
  /** {@link supportedUntilMs} by as many as {@link supportersNeeded}. */
  readonly supportedUntilMs: number;
  /** {@link supportedUntilMs} by all other members: the failsafe while coordination cannot be reached (I6). */
  readonly failsafeUntilMs: number;
}

/** When PostgreSQL must be frozen, and when it must be gone: what it acknowledges in between may be lost, if asynchronous (I2b). */
export interface RightDeadlines {
  /** Past this, another may lead: nothing may be acknowledged. It may go on when the limits are moved in time. */
  readonly freezeAtMs: number;
  /** Past this, the lease is gone too. */
  readonly killAtMs: number;
}

export function rightDeadlines(limits: RightLimits): RightDeadlines {
  const killAtMs = Math.max(limits.leaseUntilMs, limits.failsafeUntilMs);
  return { freezeAtMs: Math.min(limits.supportedUntilMs, killAtMs), killAtMs };
}

/** What a member knows when a candidate asks it to fence the holder of a version. */
export interface FenceView {
  readonly version: number;
  readonly isSuspicion: boolean;
  readonly knownVersion: number;
  readonly isLeading: boolean;
  /** Whether its promise to the holder has run out. */
  readonly hasLostLeader: boolean;
}

/** Why a member does not fence; null when it does. */
export function fenceRefusal(view: FenceView): string | null {
  if (view.knownVersion > view.version) return `the register is at version ${view.knownVersion} already`;
  if (view.isLeading) return 'this node leads';
  return view.isSuspicion && !view.hasLostLeader ? 'the leader was heard here' : null;
}

/**
 * How long a new version of the register stays unfenced by suspicion: four pings. Who renews it is there, and asks for
 * support with its next ping. Were each version fenced before that, a leader that only lacks support would stay frozen,
 * for ever where no candidate can win: it may be the one whose position the sync set asks for. A leader that is gone
 * renewed it longer ago than that when the promises run out.
 */
const RENEWAL_GRACE_MS = 200;

/** What is known of the members' hold on the leader that the register names. */
export interface SuspicionView {
  readonly memberCount: number;
  /** Whether this node is one of them. */
  readonly isMember: boolean;
  /** Whether this node's own promise has run out. */
  readonly hasLostLeader: boolean;
  /** How many of the other members said lately that theirs has. */
  readonly othersThatLostLeader: number;
  /** For how long this node has known the register's present version. */
  readonly unchangedForMs: number;
}

/** Whether a campaign by suspicion may succeed. Each fence checks again, so a wrong yes costs time only. */
export function isLeaderSuspected(view: SuspicionView): boolean {
  const lost = view.othersThatLostLeader + (view.isMember ? 1 : 0);
  const hadItsChance = view.unchangedForMs >= RENEWAL_GRACE_MS;
  return view.hasLostLeader && hadItsChance && lost >= suspicionQuorum(view.memberCount);
}

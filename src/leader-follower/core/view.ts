import type { Lsn } from '../../model/lsn.ts';
import type { NodeId, Term } from '../../model/node.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import type { Merit, Position } from './candidate.ts';
import type { ClusterState } from './cluster-state.ts';

/** This node's PostgreSQL, as last probed. */
export type LocalPostgres =
  | { readonly kind: 'absent' }
  | { readonly kind: 'stopped' }
  /** It runs and does not answer. */
  | {
      readonly kind: 'silent';
      /** Somebody other than its watchdog has suspended it. */
      readonly isSuspended: boolean;
    }
  | { readonly kind: 'leader'; readonly history: TimelineHistory; readonly flushLsn: Lsn }
  | {
      readonly kind: 'follower';
      readonly history: TimelineHistory;
      readonly receivedLsn: Lsn;
      /** What it replayed of that: whole records, which nothing but a rewind takes back. */
      readonly replayedLsn: Lsn;
      /** The end of its replayable log, null while it cannot be told (it still replays or receives). */
      readonly endLsn: Lsn | null;
      /** The node it is set to stream from, null when cut off. */
      readonly following: NodeId | null;
      readonly isReceiving: boolean;
      /** How long it has been set to stream without streaming, though a leader is there (core/stall.ts); else 0. */
      readonly stalledForMs: number;
      /** Why it cannot replay the leader's log: settings that only a restart raises. Null when it can. */
      readonly tooLowSettings: string | null;
    };

/** What this node knows of its own lease on the leadership. */
export type OwnLease =
  | { readonly kind: 'none' }
  /** The lease runs, but too few members support this leader: its PostgreSQL is frozen, and may go on. */
  | { readonly kind: 'unsupported'; readonly term: Term }
  /** Won in this process and not yet run out; only this makes a node a leader. */
  | { readonly kind: 'held'; readonly term: Term };

/** What another node's agent last said of itself. */
export interface PeerView {
  readonly name: NodeId;
  /** False when it did not answer within the last few ticks. */
  readonly isReachable: boolean;
  readonly hasData: boolean | null;
  readonly role: 'leader' | 'follower' | 'unknown';
  readonly term: Term;
  readonly history: TimelineHistory | null;
  readonly receivedLsn: Lsn | null;
  /** Whom it is set to stream from, and whether it does. Null and false where nothing is known. */
  readonly following: NodeId | null;
  readonly isReceiving: boolean;
  /** It holds the leadership of `term` and is about to be promoted from here, the end of its log; else null. */
  readonly promotesFrom: Position | null;
}

/** Everything a decision may depend on. Built by the observer, once per tick. */
export interface View {
  readonly self: NodeId;
  /** The voters, in the configured order; the first one that may lead starts a new cluster. */
  readonly founders: readonly NodeId[];
  /** The follower that this node is to stream from while that gets the leader's log; null for the leader. */
  readonly from: NodeId | null;
  /** Null when coordination could not be read. */
  readonly register: { readonly version: number; readonly state: ClusterState | null } | null;
  readonly ownLease: OwnLease;
  /** Whether the lease of another holder ran out by this node's own clock (or was released). */
  readonly isLeaseExpired: boolean;
  /** Milliseconds since then, 0 while it has not. */
  readonly leaseExpiredForMs: number;
  /** How long ago this node's promise to the present holder ran out; 0 while it stands. */
  readonly leaderLostForMs: number;
  /** Whether enough members have lost the holder for an election before the lease ends. */
  readonly isLeaderSuspected: boolean;
  /** How long no write has reached the disk of this leader; 0 while all is well. */
  readonly writeFailingForMs: number;
  /** How long somebody other than its watchdog has suspended this leader's PostgreSQL; 0 while nobody has. */
  readonly suspendedForMs: number;
  /**
   * This node gave its position to a candidate (or just started) at this register version; it may stream
   * again only from the holder in a newer one. Anything else would let a commit be acknowledged that the
   * candidate does not know of.
   */
  readonly fencedAtVersion: number;
  readonly local: LocalPostgres;
  /** The identifier in the data folder's control file, null without data. */
  readonly localSystemIdentifier: string | null;
  readonly peers: readonly PeerView[];
  /** What speaks for each node as a leader, beside its data; of a node that is missing nothing is known. */
  readonly merits: readonly Merit[];
  readonly canRewind: boolean;
  readonly hasRewindFailed: boolean;
  /** How often PostgreSQL failed to become the leader in the present term here. */
  readonly failedPromotions: number;
}

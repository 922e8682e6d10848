import type { NodeId, Term } from '../../model/node.ts';
import type { Timeline } from '../../model/timeline.ts';

/**
 * The one register that agents agree on. Leadership and sync set stand in one value on purpose: a
 * deposed leader's change of the sync set loses the same compare-and-set as its lease, so there is no
 * order of two writes to get wrong.
 */
export interface ClusterState {
  /** PostgreSQL's system identifier, as text because it exceeds 2^53; null until the first initdb. */
  readonly systemIdentifier: string | null;
  readonly leadership: Leadership;
  readonly sync: SyncSet;
  /** What commits wait for, as people set it. Missing: as the cluster was founded, and strictly. */
  readonly policy?: SyncPolicy;
  /**
   * The nodes that do not vote, as people added them, and all nodes once voters have changed. It stands in this value so
   * that who may lead, who votes and who is about to be removed cannot change behind an election's back. Missing: as in
   * cluster.json.
   */
  readonly nodes?: readonly ListedNode[];
  /** How often voters have changed. Missing: never, and those vote that founded the cluster, as cluster.json has them. */
  readonly votersEpoch?: number;
  /** Names that are never given again, oldest first: their machines may come back. */
  readonly removedNodes?: readonly NodeId[];
  /** The newest leaderships that ended without being handed over, oldest first; bounded. */
  readonly lostLeaderships?: readonly LostLeadership[];
}

/** A node as the register knows it. */
export interface ListedNode {
  readonly name: NodeId;
  readonly host: string;
  readonly port: number;
  readonly agentPort: number;
  readonly failoverPriority: number;
  /** Somebody asked for its removal: it never leads any more, and no commit is to wait for it. */
  readonly isLeaving?: boolean;
  /** It has no PostgreSQL. Missing: it has. */
  readonly witness?: boolean;
  /** As in cluster.json: how far it stays behind on purpose. Missing: it does not. */
  readonly delay?: string | undefined;
  /** As in cluster.json: the follower that it streams from. */
  readonly from?: NodeId | undefined;
  /** It votes. Missing: it does not. */
  readonly voter?: boolean;
  /** See Voter in consensus/voters.ts; missing for one that founded the cluster, and with etcd. */
  readonly acceptor?: string | null;
}

export interface LostLeadership {
  readonly node: NodeId;
  readonly term: Term;
}

/** The lease. There is no timestamp in it: each agent counts the TTL on its own monotonic clock. */
export interface Leadership {
  /** Who leads, or led last when `isReleased` or the lease ran out. */
  readonly holder: NodeId;
  readonly term: Term;
  /** New on every write, so that a renewal is told apart from an old value seen again. */
  readonly nonce: string;
  readonly ttlMs: number;
  /** True when the holder stopped its PostgreSQL and gave the lease up: nobody has to wait for the TTL. */
  readonly isReleased: boolean;
  /** It was given up because its agent was stopped in order, which is no loss. Missing in a register of an older release. */
  readonly isResigned?: boolean;
  /** Whom a switchover chose; the others let it try first. */
  readonly successor: NodeId | null;
  /** The timeline of the newest completed promotion: an eligible candidate has it in its history. */
  readonly timeline: Timeline | null;
  /**
   * The number that the holder's promotion will take, told before PostgreSQL may use it; null once `timeline`
   * tells of it. So no later promotion takes the same number. Missing in a register of an older release.
   */
  readonly announcedTimeline?: Timeline | null;
}

/** What a synchronous commit waits for; by which steps: core/sync-policy.ts. */
export interface SyncPolicy {
  /** That many followers; `all` for every one that commits may wait for, also one that is away. */
  readonly followers: number | 'all';
  /** Who has not confirmed for so long is not waited for until it keeps up again. Null: commits wait. */
  readonly degradeAfterMs: number | null;
  /** Nodes that have no data yet: nobody waits for a copy that may take hours. */
  readonly joining?: readonly NodeId[];
}

/**
 * Who may hold a synchronous commit that the others lack. Invariant I2: every acknowledged synchronous
 * commit is durable on at least `required` of `members`, so that hearing the position of
 * `members.length - required + 1` of them, each cut off from the old leader, finds it.
 * The leader itself is a member until enough followers have passed the position of its promotion.
 */
export interface SyncSet {
  readonly required: number;
  /** Sorted by name. Empty until the first follower has caught up: nothing is synchronous before. */
  readonly members: readonly NodeId[];
  /** Commits wait for fewer than the policy says, because it allows that, until enough followers keep up again. */
  readonly isDegraded?: boolean;
}

/** How many members must be heard, each fenced, before one may be elected. */
export function electionQuorum(sync: SyncSet): number {
  return Math.max(0, sync.members.length - sync.required + 1);
}

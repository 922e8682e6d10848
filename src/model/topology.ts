/**
 * What agents tell the outside: `GET /v1/topology` and the `topology` events of `GET /v1/events`. Plain
 * JSON: LSNs as text, unknown values null, no secrets.
 */
export type NodeRole = 'leader' | 'follower' | 'unknown';

/** `running` serves; `starting` and `rejoining` will; `stopped` has no PostgreSQL; `unreachable` has no agent. */
export type NodeState = 'running' | 'starting' | 'rejoining' | 'stopped' | 'unreachable';

/**
 * How a node follows: `plain` streams from the leader; `cascading` from another follower while that gets the leader's log;
 * `delayed` stays behind on purpose, never leads, and is no server
 * for an app to ask; a `witness` has no data, votes, and is no server to ask.
 */
export type FollowerKind = 'plain' | 'cascading' | 'delayed' | 'witness';

export interface NodeTopology {
  readonly name: string;
  readonly role: NodeRole;
  readonly state: NodeState;
  /** One line on what it is doing, e.g. `cloning 42%`; null when it just runs. */
  readonly detail: string | null;
  readonly host: string;
  /** PostgreSQL's port; 0 for a witness. */
  readonly port: number;
  /** Base URL of the node's agent. */
  readonly agentUrl: string;
  readonly timeline: number | null;
  /** A leader's own write position, or what a follower has received and flushed. */
  readonly receivedLsn: string | null;
  readonly replayedLsn: string | null;
  /** Bytes of the leader's log not replayed here; 0 on the leader, null when unknown. */
  readonly lagBytes: number | null;
  /** Milliseconds since the oldest commit not replayed here; 0 when caught up, null when unknown. */
  readonly lagMs: number | null;
  /** Whether synchronous commits may count this node. */
  readonly sync: boolean;
  readonly kind: FollowerKind;
  /** Whom it streams from now; null for nobody. Missing from older agents. */
  readonly follows?: string | null;
  /** How far it stays behind on purpose, in milliseconds; 0 where it does not. Missing from older agents. */
  readonly delayMs?: number;
  /**
   * How far it is behind besides, in milliseconds: how long ago a delayed node should have replayed what it has not, and
   * for others `lagMs`; null when unknown. Missing from older agents.
   */
  readonly besidesMs?: number | null;
  /** Bytes of the leader's log that have not come here; null when unknown. Missing from older agents. */
  readonly unreceivedBytes?: number | null;
  /** Whether it counts in what agents agree on and for who leads. Missing from older agents, where all do. */
  readonly voter?: boolean;
  /** Of the PostgreSQL that runs; null while none does. Missing from older agents. */
  readonly postgresVersion?: string | null;
  /** Settings that were changed and wait for a restart. Missing from older agents. */
  readonly pendingRestart?: readonly string[];
}

/** Where the leader's history left an older timeline: what that one holds past it is no part of the cluster. */
export interface TopologyFork {
  readonly timeline: number;
  readonly forkedAt: string;
}

export interface Topology {
  readonly cluster: string;
  /** Random and public: tells two clusters of one name apart, e.g. when one took over the other's port. */
  readonly clusterId: string;
  readonly topology: 'leader-follower';
  /** Grows with every change of leadership or sync set; the higher one is the newer truth. */
  readonly version: number;
  readonly term: number;
  /** The leader's timeline, null while there is no leader. */
  readonly timeline: number | null;
  /** The newest ancestors of the leader's timeline, oldest first; empty while there is no leader. */
  readonly forks: readonly TopologyFork[];
  /** Name of the node that holds the lease, null while there is none. */
  readonly leader: string | null;
  /**
   * Whether another node could take over right now, should the leader's machine be lost, without losing a synchronous
   * commit. False for a moment after each promotion, while too few of the sync set run or acknowledge, and where the agents agree
   * among themselves, while no majority of them could vote without the leader. It does not tell of a pause.
   */
  readonly isFailoverReady: boolean;
  /** Why not, for people; null when it is. Missing from older agents. */
  readonly failoverObstacle?: string | null;
  /** Whether a follower could take over while the leader's agent lives and votes. Missing from older agents. */
  readonly isSwitchoverReady?: boolean;
  /** While set (`lockstep pause`) nobody takes over by itself; `since` is ISO time. Missing from older agents. */
  readonly maintenance?: { readonly since: string; readonly reason: string | null } | null;
  /** A switchover at a time (ISO), to a node or (null) to the best follower. Missing from older agents. */
  readonly plannedSwitchover?: { readonly at: string; readonly to: string | null } | null;
  /** What synchronous commits wait for. Missing from older agents. */
  readonly syncPolicy?: {
    /** That many followers; `all` for every one that may lead. */
    readonly followers: number | 'all';
    /** Who has not confirmed for so many milliseconds is not waited for any more; null: commits wait. */
    readonly degradeAfterMs: number | null;
    /** Commits wait for fewer right now, because the policy allows that. */
    readonly isDegraded: boolean;
    /** How many of the synchronous followers surely have every acknowledged synchronous commit. */
    readonly confirmedBy: number;
    /**
     * Whom synchronous commits wait for in vain: they are away, or have acknowledged nothing for seconds, and too few others
     * do. Empty when all is well. Missing while nobody leads, and from older agents.
     */
    readonly waitsFor?: readonly string[];
  };
  readonly nodes: readonly NodeTopology[];
}

/** One line of a cluster's event log, newest last. */
export interface ClusterEvent {
  /** Wall-clock milliseconds since the epoch, for people; nothing decides by it. */
  readonly at: number;
  readonly node: string;
  readonly kind:
    | 'started'
    | 'stopped'
    | 'elected'
    | 'promoted'
    | 'demoted'
    | 'fenced'
    | 'following'
    | 'rewound'
    /** Commits that a rewind or a new copy takes away were put aside. */
    | 'lost-writes'
    | 'cloned'
    | 'sync-set'
    | 'switchover'
    | 'leader-lost'
    /** Somebody changed what is planned: a pause, a time for a switchover, settings. */
    | 'plan'
    /** A node was added or removed. */
    | 'nodes'
    /** A delayed node's past is being brought back. */
    | 'rescue'
    | 'error'
    /** From whoever runs the agents, not from one of them. */
    | 'note';
  readonly message: string;
}

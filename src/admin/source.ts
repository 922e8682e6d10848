import type { AdminRescue } from './rescue-source.ts';
import type { ClusterEvent, Topology } from '../model/topology.ts';
import type { QuorumPicture } from './quorum.ts';

/** What changed: the whole topology as it is now, or one new line of the event log. */
export type ClusterChange =
  | { readonly kind: 'topology'; readonly topology: Topology }
  | { readonly kind: 'event'; readonly event: ClusterEvent };

/** A live view of one cluster. Reading never waits. */
export interface ClusterView {
  /** Null until an agent was heard for the first time. */
  topology(): Topology | null;

  /** Oldest first, bounded. */
  events(): readonly ClusterEvent[];

  /** Calls `listener` with every change from now on. Returns the function that ends it. */
  subscribe(listener: (change: ClusterChange) => void): () => void;
}

/** What a planned change of leadership did; `pausedMs` is how long writes waited. */
export interface SwitchoverResult {
  readonly from: string;
  readonly to: string;
  readonly pausedMs: number;
}

/** What the host of the admin server can do to its cluster. Each rejects with a LockstepError. */
export interface AdminCommands {
  /** Ends the node's agent and PostgreSQL at once, as a crash would. */
  kill(node: string): Promise<void>;
  start(node: string): Promise<void>;
  /** Servers beside the cluster's nodes that can be killed and started too. */
  others?(): readonly string[];
  /** Hands leadership to `to`, or to the best follower. */
  switchover(to?: string): Promise<SwitchoverResult>;
}

/** Everything the admin server needs from its host. */
export interface AdminSource extends ClusterView {
  readonly commands: AdminCommands;
  /** The independent servers beside the cluster as they are now; null when it has none. */
  quorum?(): Promise<QuorumPicture | null>;
  /** What the page of a rescue does; missing where there is no such page. */
  readonly rescue?: AdminRescue;
  /** The secret that commands must bring as `Authorization: Bearer …`. Reading needs none. */
  readonly token: string;
  /**
   * Another secret that does the same, for a page that its owner opened; it ends with this server. Null: pages only look.
   */
  readonly pageKey: string | null;
}

/** Where a person goes next. Shown on the page to everyone who can open it: no secrets in here. */
export interface DashboardLinks {
  readonly shopUrl?: string;
  /** A command line that works as it is. */
  readonly psql?: string;
}

/** The part of a pino logger that this room uses. */
export interface AdminLogger {
  warn(details: Readonly<Record<string, unknown>>, message: string): void;
  error(details: Readonly<Record<string, unknown>>, message: string): void;
}

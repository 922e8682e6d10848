import type { ClientConfig } from 'pg';

/** A node as the bench's clients reach it. */
export interface ClusterNode {
  readonly name: string;
  readonly address: Required<Pick<ClientConfig, 'host' | 'port' | 'user' | 'password' | 'database'>>;
}

/** Who leads, and a number that grows with every change of it. */
export interface Reign {
  readonly leader: string;
  readonly term: number;
}

/** Which processes of a node. `host` is all of them. */
export type Part = 'postgres' | 'agent' | 'host';

/** Processes that count as one in the result. */
export interface ProcessGroup {
  readonly name: string;
  readonly pids: readonly number[];
}

/** What an agent logged, for the breakdown of a failover. */
export interface LoggedEvent {
  readonly atMs: number;
  readonly kind: string;
}

/** Three nodes under one kind of failover, as a bench breaks them. Gone with its processes and folder at the end. */
export interface FailoverCluster extends AsyncDisposable {
  readonly name: string;
  readonly nodes: readonly ClusterNode[];
  /** For Lockstep's client; null for a peer. */
  readonly url: string | null;
  /** How long a failover may take before it counts as one that never came. */
  readonly recoveryPatienceMs: number;
  /** Who leads now. Throws while nobody does. */
  reign(): Promise<Reign>;
  /** Resolves when every node runs, follows the same history, and any one may be lost. */
  untilWhole(): Promise<Reign>;
  /** Parents first. */
  pidsOf(node: string, part: Part): Promise<number[]>;
  /** Starts what was killed on a node, once it is gone. */
  start(node: string): Promise<void>;
  switchover(leader: string): Promise<void>;
  /** Takes a node's network link down, or up again. */
  setLink(node: string, state: 'down' | 'up'): Promise<void>;
  eventsSince(ms: number): Promise<LoggedEvent[]>;
  processGroups(leader: string): Promise<ProcessGroup[]>;
  /** The last lines of all logs, for a failure's report. */
  logs(): Promise<string>;
}

/** Milliseconds since the epoch with fractions, by a clock that PostgreSQL on this machine stamps with, too. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

import type { NodeId } from '../../../src/model/node.ts';
import { parseTimeline } from '../../../src/model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../../src/model/timeline.ts';
import type { Host } from './host.ts';
import type { Network } from './network.ts';
import type { ModelPostgres } from './postgres.ts';

/** One record of the log; its position is the length of the log up to it. */
export interface Entry {
  readonly id: number;
  /** Of the timeline that it was written on. */
  readonly history: TimelineHistory;
}

export type Durability = 'sync' | 'async';

export interface PostgresListener {
  readonly onAcknowledged: (server: ModelPostgres, entry: Entry, durability: Durability) => void;
  readonly onPromoted: (server: ModelPostgres) => void;
  /** A synchronous commit is acknowledged that nobody was waited for with. */
  readonly onUnconfirmed: (server: ModelPostgres) => void;
  readonly onStreaming: (follower: ModelPostgres, leader: ModelPostgres) => void;
  readonly onNote: (host: Host, text: () => string) => void;
}

export interface Surroundings {
  readonly network: Network;
  readonly listener: PostgresListener;
  readonly nextEntryId: () => number;
  readonly serverOf: (name: NodeId) => ModelPostgres;
}

/** Of a server, for one follower. */
export interface WalSender {
  readonly session: number;
  flushed: number;
  /** Sent up to here; the receiver's word puts it right when something was lost. */
  sent: number;
  heardAtMs: number;
  readonly follower: ModelPostgres;
}

/** Sent at once. */
export interface Batch {
  readonly start: number;
  readonly entries: readonly Entry[];
  readonly newestTimeline: Timeline;
}

/** Of a follower. */
export interface Receiver {
  readonly session: number;
  readonly source: ModelPostgres;
  isStreaming: boolean;
  heardAtMs: number;
}

export const FIRST_TIMELINE: TimelineHistory = { timeline: parseTimeline(1), ancestors: [] };

/** As PostgreSQL checks it: by the number of the timeline alone. */
export function isInHistory(
  history: TimelineHistory,
  timeline: TimelineHistory['timeline'],
  from: number,
): boolean {
  if (timeline === history.timeline) return true;
  const fork = history.ancestors.find((ancestor) => ancestor.timeline === timeline);
  return fork !== undefined && BigInt(from) <= fork.forkedAt;
}

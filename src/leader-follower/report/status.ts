import type { ClusterState } from '../core/cluster-state.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import { parseTimeline } from '../../model/timeline.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import type { NodeRole, NodeState } from '../../model/topology.ts';
import type { Acknowledgement } from './core/acknowledgement.ts';
import type { Measures } from '../core/candidate.ts';
import type { LogEnd } from '../rejoin/log-end.ts';
import type { FencedPosition } from '../core/elect.ts';
import type { ServerFacts } from '../local/server-facts.ts';

/** What an agent says of its own node: `GET /v1/status`. LSNs are text. */
export interface NodeStatus {
  readonly cluster: string;
  readonly node: string;
  readonly role: NodeRole;
  readonly state: NodeState;
  readonly detail: string | null;
  readonly hasData: boolean;
  /** The term it leads, or the newest it knows. */
  readonly term: number;
  readonly history: WireHistory | null;
  readonly receivedLsn: string | null;
  readonly replayedLsn: string | null;
  readonly replayAgeMs: number | null;
  readonly following: string | null;
  readonly isReceiving: boolean;
  /** See Probe. Missing where an older release runs, and on a witness. */
  readonly silentForMs?: number | null;
  /** Of who leads. Missing on others, and where an older release runs. */
  readonly acknowledgement?: Acknowledgement;
  /** The register's version it saw last. */
  readonly version: number;
  /** Missing where an older release runs. */
  readonly measures?: Measures;
  /** How copies ended that people asked for, since the agent started. Missing where an older release runs, and on a witness. */
  readonly copies?: { readonly done: number; readonly failed: number };
  /**
   * It holds the leadership of `term` and is about to be promoted from here: all of its log, which ends with a
   * whole record. Missing at any other time, and where that cannot be said.
   */
  readonly promotesFrom?: { readonly history: WireHistory; readonly lsn: string } | undefined;
  /** Whether its promise to the leader of `version` ran out: it would fence it for a candidate. */
  readonly hasLostLeader: boolean;
  /** Why its vote does not count now. Null when it votes, or where others than the agents vote. Missing where an older release runs. */
  readonly voteObstacle?: string | null;
  /** The identity of its vote; null where others than the agents vote. Missing where an older release runs. */
  readonly acceptor?: string | null;
  /** The version of the plan it goes by; null before it read one. Missing where an older release runs. */
  readonly planVersion?: number | null;
  /** Null while PostgreSQL does not run. Missing where an older release runs. */
  readonly facts?: ServerFacts | null;
}

export interface WireHistory {
  readonly timeline: number;
  readonly ancestors: readonly { readonly timeline: number; readonly forkedAt: string }[];
}

/** A candidate asks: stop receiving from the holder of this version, support it no more, tell the position. */
export interface FenceRequest {
  readonly version: number;
  /** The lease still runs: fence only if this node has lost the leader too. */
  readonly isSuspicion: boolean;
  /** Nobody asks where this node's log ends, and the answer does not tell it. */
  readonly onlyLetGo?: true;
}

/** Where a log ends, and the newest timeline known there, which an older release does not tell. */
export interface WirePosition {
  readonly history: WireHistory;
  readonly receivedLsn: string;
  readonly newestTimeline?: number;
}

/** The answer. Without a position, where PostgreSQL does not run, the fence holds all the same. */
export type FenceReply =
  | {
      readonly kind: 'fenced';
      readonly position: WirePosition | null;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** Whether a switchover's successor has got ready. */
export type PrepareReply = { readonly kind: 'ready' } | { readonly kind: 'refused'; readonly reason: string };

/**
 * The leader's word to its successor: my PostgreSQL has ended, with this position, and I renew no more; take
 * the register over from this version. As good as a release written into the register, and a round faster.
 */
export interface TakeoverRequest {
  readonly from: string;
  readonly version: number;
  readonly state: ClusterState;
  readonly final: { readonly timeline: number; readonly lsn: string };
}

export type TakeoverReply =
  { readonly kind: 'leads' } | { readonly kind: 'refused'; readonly reason: string };

export function encodeHistory(history: TimelineHistory): WireHistory {
  return {
    timeline: history.timeline,
    ancestors: history.ancestors.map(({ timeline, forkedAt }) => ({
      timeline,
      forkedAt: formatLsn(forkedAt),
    })),
  };
}

export function encodePosition({ history, receivedLsn, newestTimeline }: LogEnd): WirePosition {
  return { history: encodeHistory(history), receivedLsn: formatLsn(receivedLsn), newestTimeline };
}

export function decodePosition(wire: WirePosition): Omit<FencedPosition, 'node'> {
  return {
    history: decodeHistory(wire.history),
    receivedLsn: parseLsn(wire.receivedLsn),
    newestTimeline: wire.newestTimeline === undefined ? null : parseTimeline(wire.newestTimeline),
  };
}

export function decodeHistory(wire: WireHistory): TimelineHistory {
  return {
    timeline: parseTimeline(wire.timeline),
    ancestors: wire.ancestors.map(({ timeline, forkedAt }) => ({
      timeline: parseTimeline(timeline),
      forkedAt: parseLsn(forkedAt),
    })),
  };
}

import type { LeaseObservation } from '../../src/coordination/core/lease.ts';
import type { Action } from '../../src/leader-follower/core/action.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import type { NodeId, Term } from '../../src/model/node.ts';
import type { TimelineHistory } from '../../src/model/timeline.ts';

/** A commit in the modelled log; its LSN is its index + 1. */
interface Entry {
  readonly id: string;
}

export interface ModelNode {
  readonly name: NodeId;
  isUp: boolean;
  isPaused: boolean;
  process: 'absent' | 'stopped' | 'leader' | 'follower';
  log: Entry[];
  history: TimelineHistory;
  following: NodeId | null;
  fencedAtVersion: number | null;
  leaseUntilMs: number;
  term: Term | null;
  observation: LeaseObservation | null;
  synchronousNames: readonly NodeId[];
  barrierAtMs: number;
  barrierLsn: Lsn | null;
}

/** An action as a transcript shows it. */
export function describeAction(action: Action): string {
  const { kind, ...rest } = action;
  const words = Object.entries(rest).map(([name, value]) =>
    name === 'reason' ? `(${value})` : `${name} ${value}`,
  );
  return [kind, ...words].join(' ');
}

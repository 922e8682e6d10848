import type { NodeId } from '../../model/node.ts';
import { mayLead, meritOf } from './candidate.ts';
import type { View } from './view.ts';

/**
 * What a node waits for that has no leader to follow and does not lead, or whose PostgreSQL cannot do either, with what helps; null
 * where it has a leader, or is one. For people: no decision goes by it.
 */
export function waitingFor(view: View): string | null {
  if (view.local.kind === 'silent' && view.local.isSuspended)
    return 'let its PostgreSQL go on (kill -CONT): somebody has suspended it';
  const isRunning = view.local.kind === 'leader' || view.local.kind === 'follower';
  if (view.ownLease.kind === 'held' || (view.local.kind === 'follower' && view.local.isReceiving))
    return null;
  const silent = view.peers.filter((peer) => !peer.isReachable).map(({ name }) => name);
  const state = view.register?.state;
  if (state === undefined) {
    const reads = isRunning ? 'its PostgreSQL answers reads' : 'its PostgreSQL stays stopped';
    return `waits for a majority of the votes${away(silent)}; ${reads}`;
  }
  if (state === null) return waitingForFounder(view, silent);
  const { holder, isReleased } = state.leadership;
  if (view.ownLease.kind === 'unsupported')
    return `leads and must not write: too few members answer it${away(silent)}`;
  const isGone = isReleased || view.isLeaseExpired;
  if (!isGone) return silent.includes(holder) ? `waits until the lease of ${holder} runs out` : null;
  const candidates = [view.self, ...view.peers.filter((peer) => peer.isReachable).map(({ name }) => name)];
  if (!candidates.some((name) => mayLead(meritOf(view.merits, name))))
    return `waits for a node that may lead${away(silent)}`;
  return view.local.kind === 'absent' ? `waits for a leader to copy${away(silent)}` : null;
}

/** Nobody has founded the cluster: that needs every agent, once. */
function waitingForFounder(view: View, silent: readonly NodeId[]): string | null {
  if (silent.length > 0) return `waits for every node before the cluster is founded${away(silent)}`;
  const founder = view.founders.find((node) => mayLead(meritOf(view.merits, node)));
  return founder === undefined
    ? 'waits for a voter that may lead; give one a failoverPriority above 0'
    : null;
}

function away(silent: readonly NodeId[]): string {
  return silent.length === 0 ? '' : `; start the agents of ${silent.join(', ')}`;
}

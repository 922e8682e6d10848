import { meritOf } from './candidate.ts';
import { electionQuorum } from './cluster-state.ts';
import type { ClusterState } from './cluster-state.ts';
import type { Action } from './action.ts';
import type { PeerView, View } from './view.ts';

/** What the health of a leader is judged by. */
export type HealthView = Pick<View, 'self' | 'peers' | 'merits' | 'writeFailingForMs' | 'suspendedForMs'>;

/** A leader whose disk takes no write for this long is as good as dead. */
const WRITE_HEALTH_TIMEOUT_MS = 3_000;
/** Unlike writes that fail, a suspended process is not mistaken for one that has to wait. */
const SUSPENDED_TIMEOUT_MS = 1_000;
/** A disk with less room is full: PostgreSQL adds up to half of it to a table at once. */
const FULL_DISK_BYTES = 1_048_576;
/** What a follower must have to be a better leader: some segments of the log. */
const ROOM_BYTES = 64 * 1_048_576;

/** Null while PostgreSQL writes, or where nobody could take over. */
export function handOverIfFailing(view: HealthView, state: ClusterState): readonly Action[] | null {
  const { writeFailingForMs, suspendedForMs } = view;
  const isSuspended = suspendedForMs >= SUSPENDED_TIMEOUT_MS;
  const isFailing = isSuspended || writeFailingForMs >= WRITE_HEALTH_TIMEOUT_MS;
  if (!isFailing || !canHandOver(view, state)) return null;
  const seconds = ((isSuspended ? suspendedForMs : writeFailingForMs) / 1_000).toFixed(1);
  const reason = isSuspended
    ? `PostgreSQL has been suspended from outside for ${seconds} s`
    : `no write has reached the disk for ${seconds} s`;
  return [{ kind: 'hand-over', reason, inOrder: false }];
}

/**
 * A full disk goes on taking what changes existing pages, and its log where that has room left: to whoever inserts, it
 * is down. Null while there is room, or where the followers have no more.
 */
export function handOverIfFull(view: HealthView, state: ClusterState): readonly Action[] | null {
  const freeBytes = meritOf(view.merits, view.self).measures.freeBytes ?? null;
  if (freeBytes === null || freeBytes >= FULL_DISK_BYTES || !canHandOver(view, state)) return null;
  const hasRoom = (peer: PeerView): boolean =>
    isHeard(peer, state) && (meritOf(view.merits, peer.name).measures.freeBytes ?? 0) >= ROOM_BYTES;
  if (!view.peers.some(hasRoom)) return null;
  return [{ kind: 'hand-over', reason: 'its disk is full, and a follower has room', inOrder: true }];
}

/** Enough members of the sync set answer that an election without this node succeeds. */
export function canHandOver({ peers }: Pick<View, 'peers'>, state: ClusterState): boolean {
  if (state.sync.members.length === 0) return false;
  return peers.filter((peer) => isHeard(peer, state)).length >= electionQuorum(state.sync);
}

function isHeard(peer: PeerView, state: ClusterState): boolean {
  return peer.isReachable && peer.role === 'follower' && state.sync.members.includes(peer.name);
}

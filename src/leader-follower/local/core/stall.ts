import type { NodeId } from '../../../model/node.ts';

/** What tells whether a follower should stream and does not. */
export interface StallLook {
  /** The node it is set to stream from, null when cut off. */
  readonly following: NodeId | null;
  readonly isReceiving: boolean;
  /** The register's holder says that it leads: there is somebody to stream from. */
  readonly isLeaderServing: boolean;
}

/**
 * Since when a follower has been stalled; null while it is not. It is copied anew when that lasts, so that it begins
 * again with each leader, and time without one, however long, does not count.
 */
export function observeStall(sinceMs: number | null, look: StallLook, nowMs: number): number | null {
  const isStalled = look.following !== null && !look.isReceiving && look.isLeaderServing;
  return isStalled ? (sinceMs ?? nowMs) : null;
}

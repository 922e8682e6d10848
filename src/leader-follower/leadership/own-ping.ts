import type { NodeId } from '../../model/node.ts';
import type { Ping } from '../core/support.ts';
import type { LeadershipRegister } from './leadership.ts';

/** A leader that writes nothing for so long stops pinging, in case it cannot hand over. */
const SILENT_AFTER_FAILING_MS = 4_000;

/** This node's word to the others while it holds the leadership and its PostgreSQL is well; else null. */
export function ownPing(leader: {
  readonly self: NodeId;
  readonly register: LeadershipRegister;
  readonly supportMs: number;
  /** For how long its PostgreSQL has failed to write. */
  readonly failingForMs: number;
  /** The whole cluster is. */
  readonly isPaused: boolean;
}): Ping | null {
  const { self, register, supportMs } = leader;
  const { version, state } = register.known;
  const lease = register.ownLease;
  if (state?.leadership.holder !== self || lease.kind === 'none') return null;
  // Were this agent to hang together with the disk, silence is all that tells the others.
  // While the cluster is paused nobody would take over: being frozen would help nobody.
  if (leader.failingForMs > SILENT_AFTER_FAILING_MS && !leader.isPaused) return null;
  return { holder: self, term: lease.term, version, supportMs };
}

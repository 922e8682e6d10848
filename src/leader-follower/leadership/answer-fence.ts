import { fenceRefusal } from '../core/support.ts';
import { encodePosition } from '../report/status.ts';
import type { FenceReply, FenceRequest } from '../report/status.ts';
import type { Fence } from './fence.ts';
import type { LeadershipHold } from './leadership-hold.ts';
import type { RegisterReader } from './register-reader.ts';
import type { LocalPort } from '../ports.ts';
import type { PromiseToLeader } from './promise-to-leader.ts';

/** What of a member answers a candidate. */
interface Fenced {
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly promise: PromiseToLeader;
  readonly fence: Fence;
  readonly local: LocalPort;
}

/** A candidate asks: cut off from the leader it wants to replace, and tell the position. */
export async function answerFence(
  { register, hold, promise, fence, local }: Fenced,
  request: FenceRequest,
): Promise<FenceReply> {
  const refusal = fenceRefusal({
    ...request,
    knownVersion: register.known.version,
    isLeading: hold.ownLease.kind !== 'none',
    hasLostLeader: promise.lostForMs > 0,
  });
  if (refusal !== null) return { kind: 'refused', reason: refusal };
  // Before the position is read: from here on nothing may be received for this version's leader.
  fence.raise(request.version);
  if (request.onlyLetGo === true) {
    await local.letGo();
    return { kind: 'fenced', position: null };
  }
  const position = await local.fencedPosition();
  return { kind: 'fenced', position: position && encodePosition(position) };
}

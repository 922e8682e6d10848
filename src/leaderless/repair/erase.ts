import type { Ballot } from '../../consensus/ballot.ts';
import { startRound, stepRound } from '../../consensus/proposer.ts';
import type { Change, RoundStep } from '../../consensus/proposer.ts';
import { keyId } from '../core/cells.ts';
import { extendLineage } from '../core/lineage.ts';
import type { Rules } from '../core/rules.ts';
import { fromProposal } from '../core/slot-value.ts';
import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { ErasableSlot, NodeReply } from '../nodes/requests.ts';
import type { Runtime } from '../runtime.ts';
import { ask } from './ask.ts';

const PAGE = 256;
const ROUND_TIMEOUT_MS = 2_000;

/** Who must agree, all of one epoch. */
interface Members {
  readonly nodes: readonly NodeQueue[];
  readonly epoch: number;
}

type DeletedSlot = Extract<NodeReply, { kind: 'deleted-slots' }>['slots'][number];

/**
 * Erases compare-and-set keys that were deleted long ago. First a round has **every** node accept the deleted value under one ballot,
 * so that none holds an older one; then each node forgets the slot unless somebody promised or accepted more since, and refuses
 * from then on, for all slots that it does not have, the ballots up to the one that was promised last. So what an accept under way or
 * a cached promise could still bring is refused. Gives how many were erased at the first node.
 */
export async function eraseSlots(
  members: Members,
  runtime: Runtime,
  rules: Rules,
  keepMs: number,
): Promise<number> {
  const { nodes, epoch } = members;
  const found = new Map<string, DeletedSlot>();
  for (const node of nodes) {
    const listed = await ask(node, { kind: 'deleted-slots', keepMs, limit: PAGE });
    if (listed?.kind !== 'deleted-slots') return 0;
    for (const slot of listed.slots) {
      const id = keyId(slot.collection.name, slot.key);
      const known = found.get(id);
      if (known === undefined || known.promised.counter < slot.promised.counter) found.set(id, slot);
    }
  }
  const proposer = runtime.uniqueName();
  const agreed = await Promise.all(
    [...found.values()].map((slot) => agreeOnDeleted(slot, proposer, members, runtime, rules)),
  );
  const slots = agreed.filter((slot) => slot !== null);
  if (slots.length === 0) return 0;
  const [first] = await Promise.all(nodes.map((node) => ask(node, { kind: 'erase', slots, epoch })));
  return first?.kind === 'forgotten' ? first.count : 0;
}

class NotDeleted extends Error {}

/** The ballot under which every node holds the slot as deleted; null when that did not come about. */
function agreeOnDeleted(
  { collection, key, promised }: DeletedSlot,
  proposer: string,
  { nodes, epoch }: Members,
  runtime: Runtime,
  rules: Rules,
): Promise<ErasableSlot | null> {
  const ballot: Ballot = { counter: promised.counter + 1, proposer };
  const next: Ballot = { counter: ballot.counter + 1, proposer };
  const change: Change = (current) => {
    const { value, lineage } = fromProposal(current);
    if (value !== null) throw new NotDeleted();
    return { version: current.version, value: { value, lineage: extendLineage(lineage, ballot) } };
  };
  return new Promise((resolve) => {
    let isOver = false;
    const finish = (isAgreed: boolean): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      resolve(isAgreed ? { collection, key, accepted: ballot, promised: next } : null);
    };
    const cancel = runtime.after(ROUND_TIMEOUT_MS, () => finish(false));
    let step: RoundStep = startRound(
      keyId(collection.name, key),
      ballot,
      rules.holdersBeforeErase(nodes.length),
      next,
    );
    const send = (): void => {
      const { broadcast: message } = step;
      if (message === null) return;
      for (const node of nodes) {
        node.ask({ kind: 'consensus', collection, key, message, epoch }, (reply) => {
          if (isOver) return;
          if (reply instanceof NodeFailure || reply.kind !== 'consensus') return finish(false);
          try {
            step = stepRound(step.round, node.name, reply.reply, change);
          } catch {
            return finish(false);
          }
          const { kind } = step.round.phase;
          if (kind === 'committed') finish(true);
          else if (kind === 'preparing' || kind === 'accepting') send();
          else finish(false);
        });
      }
    };
    send();
  });
}

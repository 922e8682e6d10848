import type { Store } from '../core/cells.ts';
import type { AcceptedSlot } from '../nodes/requests.ts';
import { ask } from '../repair/ask.ts';
import type { CatchUp } from '../repair/catch-up.ts';
import type { KnownNode } from '../roster.ts';

const PAGE = 500;
const STORES: readonly Store[] = ['registers', 'tallies'];

/** An old member, and the number below which it has what went by the old membership. */
export interface CarriedNode {
  readonly node: KnownNode;
  readonly fence: number;
}

/**
 * Brings every key from the sources, a majority of the old members, to all targets. True when each target has all that any source had when
 * it went over to the new epoch; false when a node failed meanwhile.
 */
export async function carryOver(
  sources: readonly CarriedNode[],
  targets: readonly KnownNode[],
  catchUp: CatchUp,
  epoch: number,
): Promise<boolean> {
  for (const target of targets) {
    await catchUp.bringUpToDate(target);
    for (const source of sources)
      if (source.node !== target && !(await hasSeen(target, source))) return false;
  }
  for (const source of sources) if (!(await carrySlots(source.node, targets, epoch))) return false;
  return true;
}

async function hasSeen(target: KnownNode, { node, fence }: CarriedNode): Promise<boolean> {
  const id = node.id();
  if (id === null) return false;
  for (const store of STORES) {
    const seen = await ask(target.queue, { kind: 'seen', source: id, store });
    if (seen?.kind !== 'seen' || seen.seen < fence) return false;
  }
  return true;
}

async function carrySlots(source: KnownNode, targets: readonly KnownNode[], epoch: number): Promise<boolean> {
  let after: AcceptedSlot | undefined;
  for (;;) {
    const page = await ask(source.queue, {
      kind: 'slots',
      after: [after?.collection ?? '', after?.key ?? ''],
      limit: PAGE,
      epoch,
    });
    if (page?.kind !== 'slots') return false;
    const { slots } = page;
    after = slots.at(-1);
    if (after === undefined) return true;
    const learned = await Promise.all(
      targets
        .filter((target) => target !== source)
        .map((target) => ask(target.queue, { kind: 'learn', slots, epoch })),
    );
    if (learned.includes(null)) return false;
  }
}

import { LockstepError } from '../../model/errors.ts';
import { majority } from '../../consensus/proposer.ts';
import { decidePlan, isSame, QUORUM_SIZES } from '../core/membership.ts';
import type { Membership } from '../core/membership.ts';
import { RULES } from '../core/rules.ts';
import type { Rules } from '../core/rules.ts';
import type { NodeMarks, NodeReply } from '../nodes/requests.ts';
import { ask } from '../repair/ask.ts';
import type { CatchUp } from '../repair/catch-up.ts';
import type { KnownNode } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import type { Slots } from '../slots/slots.ts';
import { carryOver } from './carry.ts';
import type { CarriedNode } from './carry.ts';

/** Where members are agreed on. */
const PLAN = { name: 'lockstep:members', kind: 'cas' } as const;
const PLAN_KEY = 'plan';
const PAUSE_MS = 100;
const PLAN_DEADLINE_MS = 2_000;
const NO_MARKS: NodeMarks = { sealed: 0, floor: 0, slotFloor: 0 };

export interface ChangeContext {
  readonly slots: Slots;
  readonly catchUp: CatchUp;
  readonly runtime: Runtime;
  readonly rules?: Rules;
  membership(): Membership;
  /** A node that this process has a connection to, by its name among the members. */
  nodeOf(id: string): KnownNode | null;
  /** This process goes by these members from now on. */
  follow(membership: Membership): void;
  onStep?(what: string): void;
}

export interface MemberChange {
  readonly members: readonly string[];
  readonly addresses: Readonly<Record<string, string>>;
}

type Adopted = Extract<NodeReply, { kind: 'adopted' }>;

interface AdoptedNode {
  readonly node: KnownNode;
  readonly adopted: Adopted;
}

/**
 * Makes other nodes the members, while clients work. First both sets count, and whatever needs a majority needs one of each; then every
 * key is carried to all new members from a majority of the old ones; only then the new set counts alone. May be
 * cut off anywhere and run again, by anybody. Throws QUORUM_NOT_REACHED (retryable) when it did not end in time, CONFIG_INVALID for
 * a number of members that a quorum cannot have.
 */
export async function changeMembers(
  context: ChangeContext,
  { members, addresses }: MemberChange,
  deadlineMs: number,
): Promise<Membership> {
  const next = members.toSorted();
  if (!QUORUM_SIZES.includes(next.length))
    throw new LockstepError(
      'CONFIG_INVALID',
      `A quorum has 3, 5 or 7 servers, and this change would leave ${next.length}.`,
    );
  const endsAtMs = context.runtime.monotonicMs() + deadlineMs;
  const current = context.membership();
  if (current.next === null && current.members.join() === next.join()) return current;
  // A change that was cut off may have left those that join behind, without whom nothing can be agreed on.
  if (current.next !== null) await adoptJoint(context, current);
  const joint = await agree(context, {
    ...current,
    next,
    addresses: { ...current.addresses, ...addresses },
  });
  const coming = joint.next ?? [];
  context.onStep?.('both the old and the new members count');
  for (;;) {
    const marks = await enterJoint(context, joint);
    if (marks !== null) {
      context.onStep?.('every key was carried over');
      const kept = Object.entries(joint.addresses).filter(([id]) => coming.includes(id));
      const last = await agree(context, {
        ...joint,
        members: coming,
        next: null,
        addresses: Object.fromEntries(kept),
      });
      if (await settle(context, last, marks, endsAtMs)) return last;
    }
    if (context.runtime.monotonicMs() > endsAtMs) throw tooSlow();
    await pause(context.runtime);
  }
}

function tooSlow(): LockstepError {
  return new LockstepError(
    'QUORUM_NOT_REACHED',
    'The change of members did not end in time: it needs a majority of the old members, a majority of the new ones and every server that joins. Run it again, or name other members; until then both count.',
    { outcome: 'unknown', retryable: true },
  );
}

/**
 * Agrees on the membership that comes next. A change that is under way may be given another aim, also before any node heard of it: the old
 * members stay the same, and have all that both sets had. It ends only when nothing else was agreed on since it began.
 */
async function agree(context: ChangeContext, proposed: Membership): Promise<Membership> {
  // A change ends only from the plan that its keys were carried for, whatever this process goes by now.
  const epoch = proposed.next === null ? proposed.epoch : context.membership().epoch;
  const end = await context.slots.change(
    PLAN,
    PLAN_KEY,
    ({ value }) => {
      const stands = value === null ? null : (JSON.parse(value) as Membership);
      const next = decidePlan(stands, proposed, epoch);
      return next === null ? undefined : JSON.stringify(next);
    },
    PLAN_DEADLINE_MS,
  );
  if (end.kind !== 'chosen')
    throw new LockstepError(
      'QUORUM_NOT_REACHED',
      'Too few members answered to agree on a change; run it again when more of them are up.',
      { outcome: end.kind === 'unknown' ? 'unknown' : 'not-applied', retryable: true },
    );
  const stands = JSON.parse(end.result.state.value ?? 'null') as Membership | null;
  if (stands === null || !isSame(stands, proposed))
    throw new LockstepError('QUORUM_NOT_REACHED', 'The members have changed meanwhile; run it again.', {
      retryable: true,
    });
  return stands;
}

interface Entered {
  readonly old: readonly AdoptedNode[];
  readonly coming: readonly AdoptedNode[];
  readonly marks: NodeMarks;
}

/** Takes old and new members over to the joint epoch; null while a majority of the old ones is not there. */
async function adoptJoint(context: ChangeContext, joint: Membership): Promise<Entered | null> {
  const old = await adoptAt(context, joint.members, joint, NO_MARKS);
  if (old.length < majority(joint.members.length)) return null;
  const marks = highest(old.map(({ adopted }) => adopted.marks));
  // New members refuse from the beginning what the old ones would refuse; what these have forgotten is known when all is carried.
  const coming = await adoptAt(context, joint.next ?? [], joint, { ...NO_MARKS, sealed: marks.sealed });
  context.follow(joint);
  return { old, coming, marks };
}

/** Enters the joint epoch, and carries all keys. Null when something failed and is to be done again. */
async function enterJoint(context: ChangeContext, joint: Membership): Promise<NodeMarks | null> {
  const adopted = await adoptJoint(context, joint);
  if (adopted === null) return null;
  const { old, coming: entered, marks } = adopted;
  const coming = joint.next ?? [];
  // Whoever joins must be there; of the others as many that no majority is without one that was carried to.
  const joining = coming.filter((id) => !joint.members.includes(id));
  const ids = new Set(entered.map(({ node }) => node.id()));
  if (!joining.every((id) => ids.has(id)) || entered.length <= coming.length - majority(coming.length))
    return null;
  const { carries } = { ...RULES, ...context.rules };
  if (!carries) return marks;
  const sources = old.map(({ node, adopted }): CarriedNode => ({ node, fence: adopted.next }));
  const targets = entered.map(({ node }) => node);
  if (!(await carryOver(sources, targets, context.catchUp, joint.epoch))) return null;
  // While both sets count nothing more is forgotten: from here on each of the new ones refuses what the old ones refuse.
  const marked = await adoptAt(
    context,
    [...ids].flatMap((id) => id ?? []),
    joint,
    marks,
  );
  return marked.length === entered.length ? marks : null;
}

/** Whether a majority of the new members goes by the new epoch. The others learn it from whoever comes along. */
async function settle(
  context: ChangeContext,
  last: Membership,
  marks: NodeMarks,
  endsAtMs: number,
): Promise<boolean> {
  for (;;) {
    const adopted = await adoptAt(context, last.members, last, marks);
    if (adopted.length >= majority(last.members.length)) {
      // Those that leave are told, so that nobody goes on with them.
      await adoptAt(
        context,
        context.membership().members.filter((id) => !last.members.includes(id)),
        last,
        NO_MARKS,
      );
      context.follow(last);
      return true;
    }
    if (context.runtime.monotonicMs() > endsAtMs) return false;
    await pause(context.runtime);
  }
}

async function adoptAt(
  context: ChangeContext,
  ids: readonly string[],
  membership: Membership,
  marks: NodeMarks,
): Promise<readonly AdoptedNode[]> {
  const replies = await Promise.all(
    ids.map(async (id) => {
      const node = context.nodeOf(id);
      if (node === null || !node.queue.isUp) return [];
      const reply = await ask(node.queue, { kind: 'adopt', membership, marks });
      return reply?.kind === 'adopted' && reply.epoch === membership.epoch ? [{ node, adopted: reply }] : [];
    }),
  );
  return replies.flat();
}

function highest(marks: readonly NodeMarks[]): NodeMarks {
  return {
    sealed: Math.max(...marks.map(({ sealed }) => sealed)),
    floor: Math.max(...marks.map(({ floor }) => floor)),
    slotFloor: Math.max(...marks.map(({ slotFloor }) => slotFloor)),
  };
}

function pause(runtime: Runtime): Promise<void> {
  return new Promise((resolve) => void runtime.after(PAUSE_MS, resolve));
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideSlots } from '../../src/leader-follower/duties/core/slots.ts';
import type { Slot, SlotStep, SlotsView } from '../../src/leader-follower/duties/core/slots.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';

const [n1, n2, n9] = [parseNodeId('n1'), parseNodeId('n2'), parseNodeId('n9')];
const at = (position: number): Lsn => BigInt(position) as Lsn;

function slot(node: Slot['node'], restart: number | null, changes: Partial<Slot> = {}): Slot {
  return {
    node,
    isActive: false,
    isLost: false,
    restartLsn: restart === null ? null : at(restart),
    ...changes,
  };
}

/** A follower with slots for n1 and n2, both of which said that they are at 500. */
function follower(
  slots: readonly Slot[],
  redo = 400,
  held: [Slot['node'], number][] = [
    [n1, 500],
    [n2, 500],
  ],
) {
  const heldByPeers = new Map(held.map(([node, position]) => [node, at(position)]));
  return { slots, wanted: [n1, n2], follower: { redoLsn: at(redo), heldByPeers } };
}

const table: readonly (readonly [string, SlotsView, readonly SlotStep[]])[] = [
  [
    'missing ones are made',
    { slots: [slot(n1, 10)], wanted: [n1, n2], follower: null },
    [{ kind: 'create', node: n2 }],
  ],
  [
    'those of removed nodes are dropped',
    { slots: [slot(n1, 10), slot(n9, 10)], wanted: [n1], follower: null },
    [{ kind: 'drop', node: n9 }],
  ],
  [
    'not while somebody streams through it',
    { slots: [slot(n9, 10, { isActive: true })], wanted: [], follower: null },
    [],
  ],
  [
    'a lost one is made anew',
    { slots: [slot(n1, null, { isLost: true })], wanted: [n1], follower: null },
    [
      { kind: 'drop', node: n1 },
      { kind: 'create', node: n1 },
    ],
  ],
  [
    'a leader leaves the one of a dead follower alone',
    { slots: [slot(n1, 10)], wanted: [n1], follower: null },
    [],
  ],
  [
    'a follower moves them to its redo position',
    follower([slot(n1, 100), slot(n2, 400)]),
    [{ kind: 'advance', node: n1, to: at(400) }],
  ],
  [
    'and no further than the other node is',
    follower([slot(n1, 100), slot(n2, 200)], 400, [
      [n1, 300],
      [n2, 200],
    ]),
    [{ kind: 'advance', node: n1, to: at(300) }],
  ],
  ['not at all for one that never said where it is', follower([slot(n1, 100), slot(n2, 100)], 400, []), []],
  [
    'one that begins past the redo position is made anew',
    follower([slot(n1, 450), slot(n2, 400)]),
    [
      { kind: 'drop', node: n1 },
      { kind: 'create', node: n1 },
    ],
  ],
];

describe('slots for the other nodes', () => {
  it.each(table)('%s', (_, view, expected) => expect(decideSlots(view)).toEqual(expected));

  it('are there, move no further than their node and the redo position are, and come to rest', () => {
    const position = fc.integer({ min: 1, max: 1_000 });
    fc.assert(
      fc.property(
        fc.array(fc.record({ restart: position, isActive: fc.boolean(), isLost: fc.boolean() }), {
          maxLength: 2,
        }),
        position,
        fc.tuple(fc.option(position), fc.option(position)),
        (found, redo, held) => {
          const names = [n1, n2];
          const reports = names.flatMap((name, index): [Slot['node'], number][] => {
            const lsn = held[index] ?? null;
            return lsn === null ? [] : [[name, lsn]];
          });
          const before = found.map(({ restart, ...rest }, index) =>
            slot(names[index] ?? n9, rest.isLost ? null : restart, rest),
          );
          const view = follower(before, redo, reports);
          const after = apply(before, decideSlots(view), redo);
          for (const name of names) {
            const now = after.find(({ node }) => node === name);
            expect(now).toBeDefined();
            if (now === undefined || now.isActive || now.restartLsn === null) continue;
            expect(now.restartLsn <= at(redo)).toBe(true);
            const original = before.find(({ node }) => node === name);
            const held = new Map(reports).get(name);
            const isMoved = original !== undefined && now.restartLsn > (original.restartLsn ?? at(redo));
            if (isMoved) expect(held !== undefined && now.restartLsn <= held).toBe(true);
          }
          expect(decideSlots({ ...view, slots: after })).toEqual([]);
        },
      ),
    );
  });
});

function apply(slots: readonly Slot[], steps: readonly SlotStep[], redo: number): Slot[] {
  let next = [...slots];
  for (const step of steps) {
    if (step.kind === 'create') next.push(slot(step.node, redo));
    else if (step.kind === 'drop') next = next.filter(({ node }) => node !== step.node);
    else next = next.map((found) => (found.node === step.node ? { ...found, restartLsn: step.to } : found));
  }
  return next;
}

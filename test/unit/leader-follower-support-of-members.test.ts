import { expect, it } from 'vitest';
import { SupportOfMembers } from '../../src/leader-follower/leadership/support-of-members.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { n1, n2, n3 } from './decide-views.ts';

const n4 = parseNodeId('n4');
const n5 = parseNodeId('n5');

function open(memberSets: () => readonly (readonly NodeId[])[]): SupportOfMembers {
  return new SupportOfMembers({
    self: n1,
    memberSets,
    supportMs: 600,
  });
}

it('lasts as long as enough of the members hold the leader up', () => {
  const held = open(() => [[n1, n2, n3]]);
  expect(held.untilMs).toBe(Number.NEGATIVE_INFINITY);
  held.heard(n2, 100);
  held.heard(n5, 900);
  expect(held.untilMs).toBe(700);
  expect(held.failsafeUntilMs).toBe(Number.NEGATIVE_INFINITY);
  held.heard(n3, 200);
  expect(held.untilMs).toBe(800);
  expect(held.failsafeUntilMs).toBe(700);
});

it('must suffice by the members of before a change and by those after it', () => {
  let sets = [[n1, n2, n3]];
  const held = open(() => sets);
  held.heard(n2, 300);
  held.heard(n4, 100);
  expect(held.untilMs).toBe(900);
  // Five ask for two supporters: of them n2 and n4 answered.
  sets = [
    [n1, n2, n3],
    [n1, n3, n4, n5, n2],
  ];
  expect(held.untilMs).toBe(700);
  // By those after the change alone, n2's answer counts no more.
  sets = [
    [n1, n2, n3],
    [n1, n3, n4],
  ];
  expect(held.untilMs).toBe(700);
  sets = [
    [n1, n3, n4],
    [n1, n3],
  ];
  expect(held.untilMs).toBe(700);
  sets = [
    [n1, n3, n5],
    [n1, n2, n3],
  ];
  expect(held.untilMs).toBe(Number.NEGATIVE_INFINITY);
  expect(held.failsafeUntilMs).toBe(Number.NEGATIVE_INFINITY);
});

it('begins anew with a new leadership', () => {
  const held = open(() => [[n1, n2, n3]]);
  held.heard(n2, 300);
  held.forget();
  expect(held.untilMs).toBe(Number.NEGATIVE_INFINITY);
});

import { describe, expect, it } from 'vitest';
import {
  lackingWithout,
  missingFor,
  refusePolicy,
  tellOfPolicy,
} from '../../src/cli/commands/core/waiting-writes.ts';
import type { Topology } from '../../src/model/topology.ts';
import { node, topology } from './admin-fixtures.ts';

type Policy = NonNullable<Topology['syncPolicy']>;

/** n1 leads n2 and n3, and commits wait for one of them, unless told otherwise. */
function cluster(policy: Partial<Policy> = {}, n2 = node('n2'), n3 = node('n3')): Topology {
  const syncPolicy = { followers: 1, degradeAfterMs: null, isDegraded: false, confirmedBy: 1, waitsFor: [] };
  const n1 = node('n1', { role: 'leader', sync: false });
  return topology({ nodes: [n1, n2, n3], syncPolicy: { ...syncPolicy, ...policy } });
}

const dead = node('n2', { role: 'unknown', state: 'unreachable' });
const starting = node('n2', { state: 'starting' });
const uncounted = node('n2', { sync: false });
const hung = { waitsFor: ['n2', 'n3'] };
const strict = { degradeAfterMs: null };
const both = ['n2', 'n3'];

describe('a new policy', () => {
  it.each([
    ['all, who are there', 'all', both, cluster(), []],
    ['all, of whom one is dead', 'all', both, cluster({}, dead), ['n2']],
    ['all, of whom one starts', 'all', both, cluster({}, starting), ['n2']],
    ['all, of whom one does not stream', 'all', both, cluster({}, uncounted), ['n2']],
    ['all, who hang', 'all', both, cluster(hung), both],
    ['all that are counted', 'all', ['n3'], cluster({}, dead), []],
    ['two, of whom one is dead', 2, both, cluster({}, dead), ['n2']],
    ['one, where the other is dead', 1, both, cluster({}, dead), []],
    ['one, where both hang', 1, both, cluster(hung), both],
    ['more than there are, which is refused for that', 3, both, cluster({}, dead), []],
    ['nobody, where nobody is counted', 'all', [], cluster(), []],
  ] as const)('waits for %s', (_, followers, counted, seen, missing) => {
    expect(missingFor({ ...strict, followers }, counted, seen)).toEqual(missing);
    expect(missingFor({ degradeAfterMs: 1_000, followers }, counted, seen)).toEqual([]);
  });

  it('says who is missing, and how to go on', () => {
    expect(refusePolicy(['n2'])).toMatch(/^Start n2 first, .* or pass --force: .* Nothing was changed\.$/);
    expect(tellOfPolicy(['n2'], cluster({}, dead))).toBe(
      'Synchronous commits wait for n2 to acknowledge; "lockstep policy set semi-sync" lets the next ones go on.',
    );
    expect(tellOfPolicy(both, cluster(hung))).toContain('"lockstep policy set async"');
  });
});

describe('a follower that is copied anew', () => {
  it.each([
    ['is missed where it is the only one', cluster({}, dead), { others: 0, required: 1 }],
    ['is missed where commits wait for all', cluster({ followers: 'all' }), { others: 1, required: 2 }],
    ['is missed where commits wait for two', cluster({ followers: 2 }), { others: 1, required: 2 }],
    ['is not where another acknowledges', cluster(), null],
    ['is not where nobody waits for long', cluster({ degradeAfterMs: 1_000 }, dead), null],
    ['is not where it acknowledges nothing anyway', cluster(hung), null],
    ['is not where it is away itself', cluster({}, undefined, node('n3', { state: 'stopped' })), null],
  ])('%s', (_, seen, lacking) => {
    expect(lackingWithout('n3', seen)).toEqual(lacking);
  });

  it('is nothing that the leader, or an agent of an older release, could be', () => {
    expect(lackingWithout('n1', cluster())).toBeNull();
    expect(lackingWithout('n3', topology())).toBeNull();
  });
});

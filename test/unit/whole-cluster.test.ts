import { expect, it } from 'vitest';
import { isWholeCluster } from '../../src/model/whole-cluster.ts';
import type { NodeTopology, Topology } from '../../src/model/topology.ts';
import { topology as example } from './admin-fixtures.ts';

function node(name: string, more: Partial<NodeTopology> = {}): NodeTopology {
  return { ...example().nodes[0]!, name, kind: 'plain', state: 'running', timeline: 2, voter: true, ...more };
}

const three = [node('n1'), node('n2'), node('n3')];
const ready = { isFailoverReady: true, isSwitchoverReady: true };
const handsOver = { isFailoverReady: false, isSwitchoverReady: true };

it.each<[string, Partial<Topology>, boolean, boolean]>([
  ['all three follow one that leads', { ...ready, nodes: three }, true, true],
  ['nobody leads', { ...ready, nodes: three, leader: null }, false, false],
  [
    'one does not run',
    { ...ready, nodes: [...three.slice(1), node('n1', { state: 'stopped' })] },
    false,
    false,
  ],
  [
    'one is on an older timeline',
    { ...ready, nodes: [...three.slice(1), node('n1', { timeline: 1 })] },
    false,
    false,
  ],
  [
    'a delayed one may be',
    { ...ready, nodes: [...three, node('n4', { timeline: 1, kind: 'delayed' })] },
    true,
    true,
  ],
  [
    'a witness has none',
    { ...ready, nodes: [...three.slice(1), node('w', { timeline: null, kind: 'witness' })] },
    true,
    true,
  ],
  ['the loss of one would not be survived', { ...handsOver, nodes: three }, true, false],
  ['with two that vote that is so for ever', { ...handsOver, nodes: three.slice(1) }, true, true],
  [
    'of two, one cannot take over',
    { ...ready, ...handsOver, isSwitchoverReady: false, nodes: three.slice(1) },
    false,
    false,
  ],
  [
    'one alone is all there is',
    { isFailoverReady: false, isSwitchoverReady: false, nodes: [node('n1')] },
    true,
    true,
  ],
])('%s', (_, changes, forSwitchover, forFailover) => {
  const topology: Topology = { ...example(), leader: 'n1', timeline: 2, ...changes };
  expect(isWholeCluster(topology, 'switchover')).toBe(forSwitchover);
  expect(isWholeCluster(topology, 'failover')).toBe(forFailover);
});

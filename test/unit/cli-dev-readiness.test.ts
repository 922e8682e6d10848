import { describe, expect, test } from 'vitest';
import { describeStart, StartWatch } from '../../src/cli/dev/readiness.ts';
import type { NodeTopology, Topology } from '../../src/model/topology.ts';
import { isWholeCluster } from '../../src/model/whole-cluster.ts';
import { topology as example } from './admin-fixtures.ts';

const nodeOf = (name: string, more: Partial<NodeTopology>): NodeTopology => ({
  ...example().nodes[0]!,
  name,
  kind: 'plain',
  detail: null,
  ...more,
});

const starting: Topology = {
  ...example(),
  leader: 'n1',
  nodes: [
    nodeOf('n1', { role: 'leader', state: 'running' }),
    nodeOf('n2', { role: 'unknown', state: 'starting', detail: 'cloning 42%' }),
    nodeOf('n3', { role: 'unknown', state: 'unreachable' }),
  ],
};
const further: Topology = {
  ...starting,
  nodes: starting.nodes.map((node) => ({ ...node, detail: node.name === 'n2' ? 'cloning 43%' : null })),
};

function watch(): { readonly watched: StartWatch; readonly told: string[] } {
  const told: string[] = [];
  return { watched: new StartWatch('/data', 0, (message) => told.push(message)), told };
}

describe('a start', () => {
  test('says how far each node is', () => {
    expect(describeStart(starting)).toBe('n1 leads, n2: cloning 42%, n3: its agent starts');
    expect(isWholeCluster(starting, 'switchover')).toBe(false);
  });

  test('tells of what changed, every ten seconds at most, and of nothing else', () => {
    const { watched, told } = watch();
    watched.look(null, 5_000);
    watched.look(starting, 9_999);
    expect(told).toEqual([]);
    watched.look(starting, 10_000);
    watched.look(further, 19_999);
    watched.look(further, 20_000);
    watched.look(further, 60_000);
    expect(told).toEqual([describeStart(starting), describeStart(further)]);
  });

  test('goes on for as long as anything changes, and is given up when nothing does', () => {
    const { watched } = watch();
    for (let minute = 0; minute < 30; minute += 1)
      watched.look(minute % 2 === 0 ? starting : further, minute * 60_000);
    const lastMs = 29 * 60_000;
    expect(() => watched.look(further, lastMs + 180_000)).not.toThrow();
    expect(() => watched.look(further, lastMs + 180_001)).toThrow(
      /^Run it again, it goes on from here: nothing changed for 180 s \(n1 leads, n2: cloning 43%/,
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseUpstream, upstreamProblem } from '../../src/leader-follower/core/upstream.ts';
import type { PeerView } from '../../src/leader-follower/core/view.ts';
import { parseNodesAnswer } from '../../src/leader-follower/config/node-schema.ts';
import { addNode } from '../../src/leader-follower/members/core/node-list.ts';
import type { SeedNode } from '../../src/leader-follower/members/core/node-list.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'].map(parseNodeId) as [NodeId, NodeId, NodeId, NodeId];

function peer(name: NodeId, following: NodeId | null, change: Partial<PeerView> = {}): PeerView {
  return {
    name,
    isReachable: true,
    hasData: true,
    role: following === null ? 'leader' : 'follower',
    term: parseTerm(1),
    history: { timeline: parseTimeline(2), ancestors: [] },
    receivedLsn: null,
    following,
    isReceiving: following !== null,
    promotesFrom: null,
    ...change,
  };
}

describe('whom a cascading follower streams from', () => {
  const leader = peer(n1, null);
  const choose = (peers: readonly PeerView[], from: NodeId | null = n2): NodeId =>
    chooseUpstream({ self: n3, peers: [leader, ...peers], from }, leader).name;

  it('is the one that it was given, also over another', () => {
    expect(choose([peer(n2, n1)])).toBe(n2);
    expect(choose([peer(n2, n4), peer(n4, n1)])).toBe(n2);
    expect(choose([peer(n2, n1)], null)).toBe(n1);
  });

  it('is the leader while that one gets no log of the leader', () => {
    expect(choose([])).toBe(n1);
    for (const change of [
      { isReachable: false },
      { isReceiving: false },
      { role: 'unknown' },
      { following: null },
      { history: { timeline: parseTimeline(1), ancestors: [] } },
    ] as const)
      expect(choose([peer(n2, n1, change)])).toBe(n1);
  });

  it('is never one that streams from itself, over however many', () => {
    expect(choose([peer(n2, n3)])).toBe(n1);
    expect(choose([peer(n2, n4), peer(n4, n3)])).toBe(n1);
    expect(choose([peer(n2, n4), peer(n4, n2)])).toBe(n1);
    const names = [n2, n3, n4, parseNodeId('n5'), parseNodeId('n6')];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(n1, ...names), { minLength: 5, maxLength: 5 }), (following) => {
        const peers = names
          .filter((name) => name !== n3)
          .map((name, index) => peer(name, following[index] ?? n1));
        // Follow the chain from what was chosen: it ends at the leader.
        let at = choose(peers);
        for (let steps = 0; at !== n1; steps += 1) {
          expect(at).not.toBe(n3);
          expect(steps).toBeLessThan(7);
          at = peers.find(({ name }) => name === at)?.following ?? n1;
        }
      }),
    );
  });
});

describe('a place in the tree', () => {
  const node = (name: string, rest: object = {}): SeedNode => ({
    name: parseNodeId(name),
    host: '127.0.0.1',
    port: 5400 + Number(name.slice(1)),
    agentPort: 7400 + Number(name.slice(1)),
    failoverPriority: 1,
    witness: false,
    voter: true,
    ...rest,
  });

  it('is none in a circle, below nobody, or below one that keeps its log back', () => {
    const nodes = [
      node('n1'),
      node('n2', { from: n3 }),
      node('n3', { from: n2 }),
      node('n4', { delay: '1h' }),
    ];
    expect(upstreamProblem(nodes[1] as SeedNode, nodes)).toMatch(
      /n2 follows n3 follows n2: that is a circle/,
    );
    expect(upstreamProblem(node('n5', { from: 'n9' }), nodes)).toMatch(/there is no such node/);
    expect(upstreamProblem(node('n5', { from: n4 }), nodes)).toMatch(/no log to give on/);
    expect(upstreamProblem(node('n5', { from: n1 }), nodes)).toBeNull();
    expect(() => parseNodesAnswer({ version: 1, nodes: nodes.slice(0, 3) })).toThrow(/circle/);
  });

  it('is refused when a node is added, with one sentence', () => {
    const seed = [node('n1'), node('n2')];
    const state = {
      systemIdentifier: '1',
      leadership: {
        holder: n1,
        term: parseTerm(1),
        nonce: 'a',
        ttlMs: 1,
        isReleased: false,
        successor: null,
        timeline: null,
      },
      sync: { required: 1, members: [] },
    };
    expect(() => addNode(seed, state, node('n5', { from: 'n9' }))).toThrow(
      /cannot follow n9.*Nothing was changed/,
    );
    const added = addNode(seed, state, node('n5', { from: n2 }));
    expect(added.nodes?.at(-1)).toMatchObject({ name: 'n5', from: 'n2' });
    // A delayed node never leads, whatever was asked for.
    const delayed = addNode(seed, state, node('n6', { delay: '1h', failoverPriority: 9 }));
    expect(delayed.nodes?.at(-1)).toMatchObject({ delay: '1h', failoverPriority: 0 });
  });
});

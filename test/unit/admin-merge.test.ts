import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { mergeEvents, mergeTopologies } from '../../src/admin/core/merge.ts';
import type { AgentView } from '../../src/admin/core/merge.ts';
import type { ClusterEvent, NodeTopology } from '../../src/model/topology.ts';
import { clusterEvent, node, topology } from './admin-fixtures.ts';

const QUIET_MS = 3000;

function view(changes: Partial<AgentView> = {}): AgentView {
  return { topology: topology(), receivedAtMs: 1000, isConnected: true, ...changes };
}

describe('mergeTopologies', () => {
  test('nothing was ever heard', () => {
    expect(mergeTopologies([], 0, QUIET_MS)).toBeNull();
  });

  test('the higher version wins over more running nodes and over newer news', () => {
    const newer = topology({
      version: 2,
      leader: 'n2',
      nodes: [node('n1', { state: 'unreachable' }), node('n2')],
    });
    const views = [view({ receivedAtMs: 1500 }), view({ topology: newer })];
    expect(mergeTopologies(views, 1500, QUIET_MS)).toBe(newer);
  });

  test('at one version the view that knows most nodes running wins', () => {
    const few = topology({ nodes: [node('n1', { state: 'unreachable' }), node('n2'), node('n3')] });
    const all = topology();
    const views = [view({ topology: all }), view({ topology: few, receivedAtMs: 1400 })];
    expect(mergeTopologies(views, 1500, QUIET_MS)).toBe(all);
  });

  test('among equals the newest wins', () => {
    const old = topology();
    const fresh = topology();
    const views = [view({ topology: fresh, receivedAtMs: 1400 }), view({ topology: old })];
    expect(mergeTopologies(views, 1500, QUIET_MS)).toBe(fresh);
  });

  test('an agent that is gone is not believed while another one speaks', () => {
    const others = topology({ nodes: [node('n1', { state: 'unreachable' }), node('n2'), node('n3')] });
    const views = [view({ isConnected: false }), view({ topology: others })];
    expect(mergeTopologies(views, 1500, QUIET_MS)).toBe(others);
  });

  test('a suspended agent is connected but silent: it is not believed while another one speaks', () => {
    const others = topology({ nodes: [node('n1', { state: 'unreachable' }), node('n2'), node('n3')] });
    const views = [view({ receivedAtMs: 1000 }), view({ topology: others, receivedAtMs: 6000 })];
    expect(mergeTopologies(views, 6000, QUIET_MS)).toBe(others);
    expect(mergeTopologies(views.slice(0, 1), 6000, QUIET_MS)).toBe(views[0]?.topology);
  });

  test('with no agent left every node is unreachable and nothing about it is claimed', () => {
    const known: Required<NodeTopology> = {
      ...node('n4', { kind: 'delayed' }),
      detail: 'cloning 42%',
      timeline: 3,
      lagBytes: 9,
      lagMs: 8,
      delayMs: 600_000,
      besidesMs: 7,
      unreceivedBytes: 6,
      follows: 'n1',
      voter: false,
      postgresVersion: '18.1',
      pendingRestart: ['max_connections'],
    };
    const views = [view({ topology: topology({ nodes: [node('n1'), known] }), isConnected: false })];
    const merged = mergeTopologies(views, 1500, QUIET_MS);
    expect(merged).toMatchObject({ leader: null, isFailoverReady: false, isSwitchoverReady: false });
    expect(merged?.nodes.map(({ name, state, role }) => [name, state, role])).toEqual([
      ['n1', 'unreachable', 'unknown'],
      ['n4', 'unreachable', 'unknown'],
    ]);
    // All that a node can have, so that one that is new has to be judged here.
    expect(merged?.nodes[1]).toEqual({
      name: 'n4',
      role: 'unknown',
      state: 'unreachable',
      detail: null,
      host: known.host,
      port: known.port,
      agentUrl: known.agentUrl,
      timeline: null,
      receivedLsn: null,
      replayedLsn: null,
      lagBytes: null,
      lagMs: null,
      sync: false,
      kind: 'delayed',
      follows: null,
      delayMs: 600_000,
      besidesMs: null,
      unreceivedBytes: null,
      voter: false,
      postgresVersion: null,
      pendingRestart: [],
    });
  });
});

const anyEvent: fc.Arbitrary<ClusterEvent> = fc.record({
  at: fc.integer({ min: 0, max: 20 }),
  node: fc.constantFrom('n1', 'n2'),
  kind: fc.constantFrom('started', 'stopped', 'error'),
  message: fc.constantFrom('a', 'b'),
});

describe('mergeEvents', () => {
  test('orders by time and drops repeats', () => {
    const late = clusterEvent({ at: 3 });
    const early = clusterEvent({ at: 1, node: 'n2' });
    const once = mergeEvents([late], [early, late], 10);
    expect(once).toEqual({ events: [early, late], added: [early] });
    expect(mergeEvents(once.events, [late, early], 10).added).toEqual([]);
  });

  test('an event older than all that are kept is not added to a full list', () => {
    const kept = [clusterEvent({ at: 5 }), clusterEvent({ at: 6 })];
    expect(mergeEvents(kept, [clusterEvent({ at: 1 })], 2)).toEqual({ events: kept, added: [] });
  });

  test('for any arrival: ordered, without repeats, bounded, and everything kept was told', () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyEvent)), fc.integer({ min: 1, max: 8 }), (batches, limit) => {
        let events: readonly ClusterEvent[] = [];
        const told: ClusterEvent[] = [];
        for (const batch of batches) {
          const merged = mergeEvents(events, batch, limit);
          events = merged.events;
          told.push(...merged.added);
        }
        const identities = events.map((event) => JSON.stringify(event));
        expect(new Set(identities).size).toBe(events.length);
        expect(events.length).toBeLessThanOrEqual(limit);
        expect(events.map((event) => event.at)).toEqual(
          events.map((event) => event.at).sort((a, b) => a - b),
        );
        for (const event of events) expect(told).toContain(event);
      }),
    );
  });

  test('the kept events do not depend on which node was heard first', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), fc.array(anyEvent), (a, b) => {
        const ab = mergeEvents(mergeEvents([], a, 100).events, b, 100).events;
        const ba = mergeEvents(mergeEvents([], b, 100).events, a, 100).events;
        expect(new Set(ab.map((event) => JSON.stringify(event)))).toEqual(
          new Set(ba.map((event) => JSON.stringify(event))),
        );
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ClusterState, ListedNode } from '../../src/leader-follower/core/cluster-state.ts';
import {
  addNode,
  checkRemoval,
  leaveNode,
  nodesThatLeft,
  presentNodes,
  withoutNodes,
} from '../../src/leader-follower/members/core/node-list.ts';
import type { SeedNode } from '../../src/leader-follower/members/core/node-list.ts';
import { mayLead } from '../../src/leader-follower/core/candidate.ts';
import { decideElection } from '../../src/leader-follower/core/elect.ts';
import { countedOthers } from '../../src/leader-follower/core/sync-policy.ts';
import { decideSyncSet } from '../../src/leader-follower/core/sync-set.ts';
import { parseNodeCommand } from '../../src/leader-follower/members/node-keeper.ts';
import { createLiveConfig } from '../../src/leader-follower/config/live-config.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { n1, n2, n3, stateOf } from './decide-views.ts';

const n4 = parseNodeId('n4');
const n5 = parseNodeId('n5');

function voter(name: NodeId, number: number): SeedNode {
  return { ...listed(name, number), witness: false, voter: true };
}

function listed(name: NodeId, number: number): ListedNode {
  return { name, host: '10.0.0.1', port: 5440 + number, agentPort: 7410 + number, failoverPriority: 1 };
}

const seed = [voter(n1, 1), voter(n2, 2), voter(n3, 3)];
const state = stateOf();
const withFourth = addNode(seed, state, listed(n4, 4));

describe('the nodes of a cluster', () => {
  it('are those of cluster.json until somebody changes them', () => {
    const old = [...seed, { ...voter(n4, 4), voter: false }];
    expect(presentNodes(old, null)).toEqual(old);
    expect(presentNodes(old, state)).toEqual(old);
    expect(addNode(old, state, listed(n5, 5)).nodes).toEqual([listed(n4, 4), listed(n5, 5)]);
    expect(presentNodes(old, { ...state, nodes: [] })).toEqual(seed);
  });

  it('have one more that does not vote, and changes no voter', () => {
    expect(presentNodes(seed, withFourth)).toEqual([...seed, { ...voter(n4, 4), voter: false }]);
    // A voter in cluster.json is one, whatever was listed under its name.
    expect(presentNodes([...seed, voter(n4, 9)], withFourth)).toEqual([...seed, voter(n4, 9)]);
  });

  it('are the same array until they change, so that nobody acts on each renewal', () => {
    const nodes = seed.map((node) => ({ ...node }));
    const secret = 'x'.repeat(16);
    const secrets = { superuser: secret, replication: secret, app: secret, agent: secret };
    const config = parseClusterConfig({ id: 'c', name: 'shop', nodes, secrets }, 'cluster.json');
    let now: ClusterState | null = null;
    const live = createLiveConfig(config, () => now);
    const before = live.nodes;
    now = structuredClone(state);
    expect(live.nodes).toBe(before);
    now = structuredClone(withFourth);
    const changed = live.nodes;
    expect(changed.map((node) => node.name)).toEqual([n1, n2, n3, n4]);
    now = structuredClone(withFourth);
    expect(live.nodes).toBe(changed);
  });

  it.each([
    ['a name that is taken', listed(n2, 8), /n2 is a node already, at 10\.0\.0\.1\. Choose another/],
    ['a port that is taken', { ...listed(n5, 5), port: 5441 }, /10\.0\.0\.1:5441 belongs to n1/],
    ["an agent's port as PostgreSQL's", { ...listed(n5, 5), port: 7411 }, /10\.0\.0\.1:7411 belongs to n1/],
    ['one port for both', { ...listed(n5, 5), agentPort: 5445 }, /cannot share port 5445/],
    [
      "each machine's own address",
      { ...listed(n5, 5), host: '127.0.0.1' },
      /127\.0\.0\.1 is each machine's own/,
    ],
  ])('take none with %s', (_, node, message) => {
    expect(() => addNode(seed, withFourth, node)).toThrow(message);
  });

  it('are a leader and 12 followers at most', () => {
    let full: ClusterState = state;
    for (let number = 4; number <= 13; number++)
      full = addNode(seed, full, listed(parseNodeId(`n${number}`), number));
    expect(() => addNode(seed, full, listed(parseNodeId('n14'), 14))).toThrow(
      'a leader and 12 followers at most',
    );
  });

  it.each([
    ['nobody of that name', 'n9', n1, /There is no node "n9"; there are n1, n2, n3, n4/],
    ['a voter', 'n2', n1, /n2 votes.*lockstep node revoke-vote n2/],
    ['a voter that leads', 'n1', n1, /n1 leads\. Hand the leadership over first/],
    ['whoever leads', 'n4', n4, /n4 leads\. Hand the leadership over first/],
  ])('do not lose %s', (_, name, leader, message) => {
    expect(() => leaveNode(seed, withFourth, name, leader)).toThrow(message);
  });

  it('do not become fewer than commits wait for', () => {
    const two = { ...withFourth, sync: { required: 2, members: [n2, n4] } };
    expect(() => leaveNode(seed.slice(0, 2), two, 'n4', n1)).toThrow('without n4 there would be 1');
    expect(leaveNode(seed, two, 'n4', n1).nodes).toEqual([{ ...listed(n4, 4), isLeaving: true }]);
    // A voter is told so before it gives up its vote for nothing.
    expect(() => checkRemoval(seed.slice(0, 2), two, 'n2', n1)).toThrow('without n2 there would be 1');
    expect(checkRemoval(seed, two, 'n2', n1)).toMatchObject({ name: n2, voter: true });
    // Down to one, commits wait for nobody, as in any cluster of one.
    expect(leaveNode(seed.slice(0, 1), withFourth, 'n4', n1).nodes).toHaveLength(1);
  });

  it('lose one only when no election and no commit counts on it, and never give its name again', () => {
    const leaving = leaveNode(seed, withFourth, 'n4', n1);
    expect(presentNodes(seed, leaving).at(-1)).toMatchObject({ name: n4, failoverPriority: 0 });
    const recorded = { ...leaving, sync: { required: 1, members: [n2, n4] } };
    // It may be the only one that has a commit then, and must lead if need be; as a leader it goes on until it has handed over.
    const leads = { ...leaving, leadership: { ...leaving.leadership, holder: n4 } };
    for (const needed of [recorded, leads])
      expect(presentNodes(seed, needed).at(-1)).toMatchObject({ isLeaving: true, failoverPriority: 1 });
    expect(countedOthers(presentNodes(seed, recorded), n1, undefined)).toEqual([n2, n3]);
    expect(nodesThatLeft(recorded, n1, [])).toEqual([]);
    expect(nodesThatLeft(leaving, n1, [n2, n4])).toEqual([]);
    expect(nodesThatLeft(leaving, n4, [n2])).toEqual([]);
    expect(nodesThatLeft(withFourth, n1, [n2])).toEqual([]);
    expect(nodesThatLeft(leaving, n1, [n2])).toEqual([n4]);
    const without = withoutNodes(leaving, [n4]);
    expect(without).toMatchObject({ nodes: [], removedNodes: [n4] });
    expect(() => addNode(seed, without, listed(n4, 8))).toThrow('n4 was a node of this cluster before');
    expect(() => addNode(seed, leaving, listed(n4, 8))).toThrow('n4 is being removed');
    expect(() => leaveNode(seed, without, 'n4', n1)).toThrow('n4 has been removed already');
  });
});

describe('a command from outside', () => {
  const node = { name: 'n4', host: '10.0.0.4', port: 5432, agentPort: 7411, failoverPriority: 1 };
  it.each(['10.0.0.4', 'fe80::1', 'db-4.example.com', 'localhost'])('takes the host %s', (host) => {
    expect(parseNodeCommand({ kind: 'add', node: { ...node, host } })).toMatchObject({ node: { host } });
  });
  it.each([
    ['a scheme', { ...node, host: 'http://db-4' }, /host is not valid/],
    ['a port in the host', { ...node, host: 'db-4:5432' }, /host is not valid/],
    ['all addresses', { ...node, host: '0.0.0.0' }, /host is not valid/],
    ['a bad address', { ...node, host: '10.0.0.400' }, /host is not valid/],
    ['a space', { ...node, host: 'db 4' }, /host is not valid/],
    ['no host', { ...node, host: '' }, /host is not valid/],
    ['port 0', { ...node, port: 0 }, /port is not valid/],
    ['a port past the last', { ...node, agentPort: 65_536 }, /agentPort is not valid/],
    ['a name that is none', { ...node, name: 'N 4' }, /"N 4" is not a node name/],
    ['a priority below 0', { ...node, failoverPriority: -1 }, /failoverPriority is not valid/],
    ['a vote', { ...node, voter: true }, /voter/],
  ])('with %s is refused', (_, given, message) => {
    expect(() => parseNodeCommand({ kind: 'add', node: given })).toThrow(message);
  });
});

describe('the sync set while nodes come and go', () => {
  const all = [n2, n3, n4];

  /** A leader n1 that commits, and what its followers have of that. */
  class Model {
    state: ClusterState = { ...state, sync: { required: 1, members: [] } };
    active: readonly NodeId[] = [];
    barrier = 0;
    end = 0;
    readonly acknowledged: number[] = [];
    readonly has = new Map<NodeId, number>(all.map((name) => [name, 0]));

    change(change: () => ClusterState): void {
      try {
        this.state = change();
      } catch {
        // Refused, with nothing changed.
      }
    }

    commit(receivers: readonly NodeId[]): void {
      this.end += 1;
      for (const name of receivers) if (this.nodes().includes(name)) this.has.set(name, this.end);
      const holders = this.active.filter((name) => this.has.get(name) === this.end);
      if (this.active.length === 0 || holders.length >= this.state.sync.required)
        this.acknowledged.push(this.end);
    }

    nodes(): readonly NodeId[] {
      return presentNodes([voter(n1, 1)], this.state).map((node) => node.name);
    }

    keep(streaming: readonly NodeId[]): void {
      const candidates = countedOthers(presentNodes([voter(n1, 1)], this.state), n1, undefined);
      const step = decideSyncSet({
        self: n1,
        recorded: this.state.sync,
        active: this.active,
        followers: candidates.map((name) => ({
          name,
          isStreaming: streaming.includes(name),
          flushLsn: BigInt(this.has.get(name) ?? 0) as Lsn,
        })),
        isToBeAlone:
          candidates.length === 0 && this.state.nodes?.some((node) => node.isLeaving === true) === true,
        recentlyStreaming: [],
        barrierLsn: BigInt(this.barrier) as Lsn,
      });
      if (step.kind === 'record')
        this.state = { ...this.state, sync: { ...this.state.sync, members: step.members } };
      if (step.kind === 'activate') {
        this.active = step.members;
        this.barrier = this.end;
      }
      const left = nodesThatLeft(this.state, n1, this.active);
      this.state = withoutNodes(this.state, left);
    }

    check(): void {
      const { required, members } = this.state.sync;
      const present = this.nodes();
      expect(present).toEqual(expect.arrayContaining([...members, ...this.active]));
      // An empty record lets only the leader be elected, which has everything.
      if (members.length === 0) return;
      for (const commit of this.acknowledged) {
        const holders = members.filter((name) => name === n1 || (this.has.get(name) ?? 0) >= commit);
        expect(holders.length).toBeGreaterThanOrEqual(required);
      }
      this.#expectSuccessor();
    }

    /** The leader dies now, and all others are heard: one of them stands, with every acknowledged commit. */
    #expectSuccessor(): void {
      const nodes = presentNodes([voter(n1, 1)], this.state).filter(({ name }) => name !== n1);
      const timeline = parseTimeline(1);
      const positions = nodes.map(({ name }) => ({
        node: name,
        history: { timeline, ancestors: [] },
        receivedLsn: BigInt(this.has.get(name) ?? 0) as Lsn,
        newestTimeline: timeline,
      }));
      const neverLead = nodes.filter((node) => !mayLead(node)).map(({ name }) => name);
      const { sync } = this.state;
      const view = { sync, lastHolder: n1, timeline, announcedTimeline: null, positions, neverLead };
      const stand = nodes.filter(({ name }) => decideElection({ ...view, self: name }).kind === 'stand');
      expect(stand).not.toEqual([]);
      for (const { name } of stand)
        expect(this.has.get(name)).toBeGreaterThanOrEqual(this.acknowledged.at(-1) ?? 0);
    }
  }

  const names = fc.subarray(all);
  const event = fc.oneof(
    fc.record({ kind: fc.constant('commit' as const), names }),
    fc.record({ kind: fc.constant('keep' as const), names }),
    fc.record({ kind: fc.constant('add' as const), names: fc.constantFrom(...all).map((name) => [name]) }),
    fc.record({ kind: fc.constant('leave' as const), names: fc.constantFrom(...all).map((name) => [name]) }),
  );

  it('always records enough of those that hold an acknowledged commit, and nobody that was removed', () => {
    let removals = 0;
    let emptied = 0;
    fc.assert(
      fc.property(fc.array(event, { minLength: 10, maxLength: 60 }), (events) => {
        const model = new Model();
        for (const { kind, names: given } of events) {
          const [name = n2] = given;
          const wasRecorded = model.state.sync.members.length > 0;
          if (kind === 'commit') model.commit(given);
          else if (kind === 'keep') model.keep(given);
          else if (kind === 'add')
            model.change(() => addNode([voter(n1, 1)], model.state, listed(name, 2 + all.indexOf(name))));
          else model.change(() => leaveNode([voter(n1, 1)], model.state, name, n1));
          model.check();
          if (wasRecorded && model.state.sync.members.length === 0) emptied++;
        }
        removals += model.state.removedNodes?.length ?? 0;
      }),
      { numRuns: 2_000 },
    );
    // It tells nothing where nothing happens.
    expect(removals).toBeGreaterThan(500);
    expect(emptied).toBeGreaterThan(10);
  });
});

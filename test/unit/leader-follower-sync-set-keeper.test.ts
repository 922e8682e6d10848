import { describe, expect, it } from 'vitest';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterState, SyncPolicy, SyncSet } from '../../src/leader-follower/core/cluster-state.ts';
import { SyncSetKeeper } from '../../src/leader-follower/duties/sync-set-keeper.ts';
import {
  addNode,
  leaveNode,
  presentNodes,
  withoutNodes,
} from '../../src/leader-follower/members/core/node-list.ts';
import type { SeedNode } from '../../src/leader-follower/members/core/node-list.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import type { Probe } from '../../src/postgres/probe.ts';

const [n1, n2, n3] = ['n1', 'n2', 'n3'].map(parseNodeId) as [NodeId, NodeId, NodeId];
const LSN = parseLsn('0/3000000');

function seedNode(name: NodeId, voter: boolean): SeedNode {
  const port = 5_000 + Number(name.slice(1)) * 2;
  return { name, host: '127.0.0.1', port, agentPort: port + 1, failoverPriority: 1, witness: false, voter };
}

const seed = [seedNode(n1, true), seedNode(n2, true), seedNode(n3, false)];

/** n1 leads; PostgreSQL takes what it is told when the test says so. */
class Leader {
  nowMs = 0;
  state: ClusterState;
  told: string;
  shown: string;
  areWritesTold = true;
  readonly events: string[] = [];
  readonly keeper: SyncSetKeeper;

  constructor(policy: SyncPolicy | undefined, sync: SyncSet, names: string) {
    this.state = {
      systemIdentifier: '1',
      sync,
      ...(policy === undefined ? {} : { policy }),
      leadership: {
        holder: n1,
        term: parseTerm(1),
        nonce: '1',
        ttlMs: 2_500,
        isReleased: false,
        successor: null,
        timeline: parseTimeline(1),
      },
    };
    this.told = names;
    this.shown = names;
    const nodes = (): readonly SeedNode[] => presentNodes(seed, this.state);
    const keeps = (): ClusterState => this.state;
    const parts = {
      self: n1,
      clock: { nowMs: () => this.nowMs },
      register: {
        get known() {
          return { version: 1, state: keeps() };
        },
      },
      hold: {
        update: async (change: (state: ClusterState) => ClusterState) => {
          this.state = change(this.state);
          return this.areWritesTold;
        },
      },
      local: { setStandbyNames: async (text: string) => void (this.told = text) },
      events: { add: (_: string, message: string) => void this.events.push(message) },
      config: {
        get nodes() {
          return nodes();
        },
      } as ClusterConfig,
    };
    // Only what it uses of them.
    this.keeper = new SyncSetKeeper(parts as unknown as ConstructorParameters<typeof SyncSetKeeper>[0]);
  }

  async step(atMs: number, followers: readonly NodeId[]): Promise<void> {
    this.nowMs = atMs;
    await this.keeper.step({
      receivedLsn: LSN,
      synchronousStandbyNames: this.shown,
      followers: followers.map((name) => ({ name, isStreaming: true, flushLsn: LSN })),
    } as unknown as Probe);
  }

  /** Steps with a PostgreSQL that takes everything at once, until nothing changes. */
  async settle(fromMs: number, followers: readonly NodeId[]): Promise<void> {
    for (let atMs = fromMs; atMs < fromMs + 12_000; atMs += 250) {
      this.shown = this.told;
      await this.step(atMs, followers);
    }
  }
}

describe('the sync set of a leader', () => {
  it('takes names for settled only once they have stood since PostgreSQL was told others', async () => {
    const leader = new Leader(
      { followers: 1, degradeAfterMs: null },
      { required: 2, members: [n2, n3] },
      'ANY 2 (n2, n3)',
    );
    await leader.keeper.start({ standbyNames: 'ANY 2 (n2, n3)' });
    await leader.step(0, [n2, n3]);
    await leader.step(250, [n2, n3]);
    expect(leader.told).toBe('ANY 1 (n2, n3)');
    expect(leader.state.sync.required).toBe(1);
    // A second thought, while a probe still shows what PostgreSQL does not go by any more.
    leader.state = { ...leader.state, policy: { followers: 2, degradeAfterMs: null } };
    await leader.step(300, [n2, n3]);
    expect(leader.state.sync.required).toBe(1);
    await leader.settle(400, [n2, n3]);
    expect(leader.told).toBe('ANY 2 (n2, n3)');
    expect(leader.state.sync).toEqual({ required: 2, members: [n2, n3] });
  });

  it('tells that it degraded also where it did not hear that this was written', async () => {
    const sync = { required: 2, members: [n2, n3] };
    const leader = new Leader({ followers: 'all', degradeAfterMs: 1_000 }, sync, 'ANY 2 (n2, n3)');
    await leader.keeper.start({ standbyNames: 'ANY 2 (n2, n3)' });
    leader.areWritesTold = false;
    await leader.settle(0, [n2]);
    expect(leader.state.sync).toEqual({ required: 1, members: [n2], isDegraded: true });
    expect(leader.events.filter((text) => text.startsWith('DEGRADED'))).toHaveLength(1);
    await leader.settle(20_000, [n2, n3]);
    expect(leader.state.sync).toEqual(sync);
    expect(leader.events.at(-1)).toMatch(/^no longer degraded/);
  });

  it('goes on without a policy as ever', async () => {
    const leader = new Leader(undefined, { required: 1, members: [n2, n3] }, 'ANY 1 (n2, n3)');
    await leader.keeper.start({ standbyNames: 'ANY 1 (n2, n3)' });
    await leader.settle(0, [n2]);
    expect(leader.told).toBe('ANY 1 (n2)');
    expect(leader.state.sync).toEqual({ required: 1, members: [n2] });
    await leader.settle(20_000, []);
    expect(leader.told).toBe('ANY 1 (n2)');
  });

  it('lets a node go where commits wait for all, and waits for a new one once it has its data', async () => {
    const leader = new Leader(
      { followers: 'all', degradeAfterMs: null },
      { required: 2, members: [n2, n3] },
      'ANY 2 (n2, n3)',
    );
    await leader.keeper.start({ standbyNames: 'ANY 2 (n2, n3)' });
    leader.state = leaveNode(seed, leader.state, n3, n1);
    await leader.settle(0, [n2, n3]);
    expect(leader.told).toBe('ANY 1 (n2)');
    expect(leader.state.sync).toEqual({ required: 1, members: [n2] });
    leader.state = withoutNodes(leader.state, [n3]);
    const n4 = parseNodeId('n4');
    leader.state = addNode(seed, leader.state, { ...seedNode(n4, false) });
    await leader.settle(20_000, [n2]);
    expect(leader.told).toBe('ANY 1 (n2)');
    await leader.settle(40_000, [n2, n4]);
    expect(leader.told).toBe('ANY 2 (n2, n4)');
    // It is waited for from then on, also when it is away.
    await leader.settle(60_000, [n2]);
    expect(leader.told).toBe('ANY 2 (n2, n4)');
  });

  it('keeps as many nodes as the policy waits for', () => {
    const { state } = new Leader(
      { followers: 2, degradeAfterMs: null },
      { required: 2, members: [n2, n3] },
      '',
    );
    expect(() => leaveNode(seed, state, n3, n1)).toThrow(
      /wait for 2 followers, and without n3 there would be 1.*policy set/,
    );
  });
});

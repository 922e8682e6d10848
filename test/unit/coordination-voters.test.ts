import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import { createEmbeddedCoordination } from '../../src/coordination/embedded/embedded.ts';
import type { EmbeddedCoordination } from '../../src/coordination/embedded/embedded.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { NodeId } from '../../src/model/node.ts';

const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map(parseNodeId) as [
  NodeId,
  NodeId,
  NodeId,
  NodeId,
  NodeId,
];
const FOUNDERS = [a, b, c];

let folder: string;
let acceptors: Map<NodeId, DurableAcceptor>;
let down: Set<NodeId>;
const opened: EmbeddedCoordination[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-voters-'));
  acceptors = new Map();
  down = new Set();
  for (const node of [a, b, c, d, e]) {
    const acceptor = await openAcceptorStore({
      path: join(folder, node),
      cluster: 'shop',
      node,
      clock: systemClock,
    });
    if (FOUNDERS.includes(node)) await acceptor.admit();
    acceptors.set(node, acceptor);
  }
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((participant) => participant.close()));
  await rm(folder, { recursive: true, force: true });
});

interface Value {
  readonly set: AgentVoterSet | null;
  readonly note: string;
}

function open(
  proposerId: string,
  onVoters: (set: AgentVoterSet) => void = () => undefined,
): EmbeddedCoordination {
  const participant = createEmbeddedCoordination({
    clock: systemClock,
    voters: FOUNDERS,
    voterRegister: { key: 'cluster', setOf: (value) => (value as Value | undefined)?.set ?? null },
    onVoters,
    proposerId,
    messageTimeoutMs: 100,
    callTimeoutMs: 600,
    transport: {
      send: async (to, message) => {
        if (down.has(to)) throw new Error(`${to} is down`);
        return acceptors.get(to)!.handle(message);
      },
    },
  });
  opened.push(participant);
  return participant;
}

function setOf(epoch: number, ...names: readonly NodeId[]): AgentVoterSet {
  return {
    epoch,
    voters: names.map((name) => ({
      name,
      url: '',
      acceptor: FOUNDERS.includes(name) ? null : acceptors.get(name)!.id,
    })),
  };
}

describe('registers whose voters change', () => {
  test('go on with the new ones, and who knew the old ones only finds them', async () => {
    const leader = open('leader');
    const told: number[] = [];
    const late = open('late', ({ epoch }) => told.push(epoch));
    await late.compareAndSet('plan', 0, 'as planned');
    await leader.compareAndSet('cluster', 0, { set: null, note: 'founded' } satisfies Value);

    const steps = [
      [a, b, c, d],
      [b, c, d],
      [b, c, d, e],
      [c, d, e],
    ];
    for (const [index, names] of steps.entries()) {
      expect(await leader.carry('plan', index)).toBe(true);
      const set = setOf(index + 1, ...names);
      const result = await leader.compareAndSet('cluster', index + 1, {
        set,
        note: 'changed',
      } satisfies Value);
      expect(result).toMatchObject({ kind: 'applied' });
    }
    // One of the three founders is left, and it tells.
    down.add(a).add(b);
    expect(await late.read('plan')).toEqual({ version: 1, value: 'as planned' });
    expect(await late.read('cluster')).toMatchObject({ version: 5, value: { note: 'changed' } });
    expect(told).toEqual([3, 4]);
    down.add(e);
    expect(await late.compareAndSet('plan', 1, 'anew')).toMatchObject({ kind: 'applied' });
  });

  test('are confirmed before a change only by the voters of before', async () => {
    const [leader, deposed] = [open('leader'), open('deposed')];
    await leader.compareAndSet('cluster', 0, { set: setOf(1, a, b), note: '' } satisfies Value);
    // What was changed is known with the next message.
    await leader.compareAndSet('cluster', 1, { set: setOf(1, a, b), note: 'renewed' } satisfies Value);
    expect(await deposed.carry('plan', 0)).toBe(false);
    expect(await deposed.carry('plan', 1)).toBe(true);
    down.add(b);
    expect(await leader.carry('plan', 1)).toBe(false);
  });

  test('take no change by two at once', async () => {
    const leader = open('leader');
    await leader.compareAndSet('cluster', 0, { set: null, note: 'founded' } satisfies Value);
    const result = await leader.compareAndSet('cluster', 1, {
      set: setOf(2, a, b),
      note: '',
    } satisfies Value);
    expect(result).toMatchObject({ kind: 'conflict', current: { version: 1, value: { note: 'founded' } } });
  });

  test('confirm a change that its author left half done before they go on', async () => {
    const set = setOf(1, a, b, c, d);
    const ballot = { counter: 5, proposer: 'gone' };
    const proposal = { version: 1, value: { set, note: 'half done' }, operation: 'gone:1' };
    await acceptors.get(a)!.handle({ kind: 'accept', key: 'cluster', ballot, proposal });
    down.add(c);
    const told: number[] = [];
    const next = open('next', ({ epoch }) => told.push(epoch));
    const result = await next.compareAndSet('cluster', 0, { set: null, note: 'mine' } satisfies Value);
    expect(result).toMatchObject({ kind: 'conflict', current: { version: 1, value: { note: 'half done' } } });
    expect(told).toEqual([1]);
    // It is with a majority of the voters of before, or they would not have counted it.
    const peek = await acceptors.get(b)!.handle({ kind: 'peek', key: 'cluster', set });
    expect(peek).toMatchObject({ accepted: { version: 1 } });
  });
});

import { expect, it } from 'vitest';
import { NodeQueue } from '../../src/leaderless/nodes/node-queue.ts';
import { NodeFailure } from '../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest } from '../../src/leaderless/nodes/requests.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import { runtimeOf } from './leaderless-runtime.ts';

const LIMITS = { maxInFlight: 2, maxKeys: 100, maxBytes: 30_000 };

/** Asks all at once; gives how many requests each statement held, and what was answered. */
async function ask(requests: readonly NodeRequest[]): Promise<{
  readonly statements: readonly number[];
  readonly answers: readonly (NodeReply | NodeFailure)[];
}> {
  const time = new VirtualTime();
  const runtime = runtimeOf(time);
  const statements: number[] = [];
  let idle = 2;
  const queue = new NodeQueue(
    'q1',
    {
      get idle() {
        return idle;
      },
      isUp: true,
      onChange: () => undefined,
      send: async (sent) => {
        idle -= 1;
        statements.push(sent.length);
        await time.sleep(5);
        idle += 1;
        return sent.map(() => ({ kind: 'done' }));
      },
    },
    runtime,
    LIMITS,
  );
  const answers: (NodeReply | NodeFailure)[] = [];
  for (const request of requests) queue.ask(request, (reply) => void answers.push(reply));
  await time.settleUntil(1_000, () => answers.length === requests.length);
  return { statements, answers };
}

function merge(index: number, bytes = 10): NodeRequest {
  const cell = { collection: 'prefs', key: `k${index}`, field: '', at: 1, writer: 'w', expiresAtMs: null };
  return {
    kind: 'merge',
    collection: { name: 'prefs', kind: 'lww' },
    store: 'registers',
    cells: [{ store: 'registers', ...cell, value: 'x'.repeat(bytes) }],
  };
}

it('what is more than may wait is refused, and what is larger than that alone goes alone', async () => {
  const { statements, answers } = await ask([merge(1, 100_000), merge(2)]);
  expect(statements).toEqual([1]);
  expect(answers.map((answer) => answer instanceof NodeFailure)).toEqual([true, false]);
});

/** A queue whose statements end when the test says so, and how many requests each held. */
function heldQueue(time: VirtualTime): {
  readonly queue: NodeQueue;
  readonly statements: number[];
  readonly answer: (index: number) => Promise<void>;
} {
  const statements: number[] = [];
  const ends: (() => void)[] = [];
  const transport = {
    get idle() {
      return 2;
    },
    isUp: true,
    onChange: () => undefined,
    send: async (sent: readonly NodeRequest[]): Promise<readonly NodeReply[]> => {
      statements.push(sent.length);
      await new Promise<void>((resolve) => void ends.push(resolve));
      return sent.map(() => ({ kind: 'done' }));
    },
  };
  const queue = new NodeQueue('q1', transport, runtimeOf(time), LIMITS);
  const answer = async (index: number): Promise<void> => {
    ends[index]?.();
    await new Promise((resolve) => void setImmediate(resolve));
  };
  return { queue, statements, answer };
}

it('few leave with what is asked at the answer to many, and as many at once', async () => {
  const time = new VirtualTime();
  const { queue, statements, answer } = heldQueue(time);
  const ask = (count: number, then: () => void = () => undefined): void => {
    for (let index = 0; index < count; index++) queue.ask(merge(index), then);
  };
  let again = 0;
  ask(3, () => ask(1, () => void (again += 1)));
  await time.settleUntil(1, () => statements.length === 1);
  ask(2);
  await time.settleUntil(5, () => statements.length > 1);
  expect(statements).toEqual([3]);
  await answer(0);
  await time.settleUntil(5, () => statements.length > 1);
  expect(statements).toEqual([3, 5]);
  ask(5);
  await time.settleUntil(5, () => statements.length > 2);
  expect(statements).toEqual([3, 5, 5]);
  await answer(1);
  expect(again).toBe(3);
});

it('few wait no longer than a while for many, and not at all for another kind or for one', async () => {
  const time = new VirtualTime();
  const { queue, statements } = heldQueue(time);
  for (let index = 0; index < 3; index++) queue.ask(merge(index), () => undefined);
  await time.settleUntil(time.nowMs() + 1, () => statements.length === 1);
  queue.ask(merge(7), () => undefined);
  const sentAtMs = time.nowMs();
  await time.settleUntil(1_000, () => statements.length === 2);
  expect(statements).toEqual([3, 1]);
  expect(time.nowMs() - sentAtMs).toBeLessThanOrEqual(10);

  const other = heldQueue(time);
  other.queue.ask(merge(1), () => undefined);
  await time.settleUntil(time.nowMs() + 1, () => other.statements.length === 1);
  other.queue.ask(merge(2), () => undefined);
  await time.settleUntil(time.nowMs() + 1, () => other.statements.length === 2);
  expect(other.statements).toEqual([1, 1]);

  const third = heldQueue(time);
  for (let index = 0; index < 3; index++) third.queue.ask(merge(index), () => undefined);
  await time.settleUntil(time.nowMs() + 1, () => third.statements.length === 1);
  const collection = { name: 'prefs', kind: 'lww' } as const;
  third.queue.ask({ kind: 'read', collection, store: 'registers', key: 'k' }, () => undefined);
  await time.settleUntil(time.nowMs() + 1, () => third.statements.length === 2);
  expect(third.statements).toEqual([3, 1]);
});

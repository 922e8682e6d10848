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

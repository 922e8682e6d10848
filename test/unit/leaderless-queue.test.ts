import { expect, it } from 'vitest';
import { NodeQueue } from '../../src/leaderless/nodes/node-queue.ts';
import { NodeFailure } from '../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest } from '../../src/leaderless/nodes/requests.ts';
import type { Runtime } from '../../src/leaderless/runtime.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';

const LIMITS = { maxInFlight: 2, maxKeys: 100, maxBytes: 30_000 };

/** Asks the first ones at once, the next ones a millisecond later; tells when each statement left, with how many, and all answers. */
async function ask(
  turns: readonly (readonly NodeRequest[])[],
  takesMs: number,
): Promise<{
  readonly sentAtMs: readonly number[];
  readonly statements: readonly number[];
  readonly answers: readonly (NodeReply | NodeFailure)[];
}> {
  const time = new VirtualTime();
  const runtime: Runtime = {
    nowMs: () => time.nowMs(),
    monotonicMs: () => time.nowMs(),
    after: (ms, run) => time.after(ms, run),
    soon: (run) => void time.after(0, run),
    random: () => 0.5,
    uniqueName: () => 'a',
  };
  const statements: number[] = [];
  const sentAtMs: number[] = [];
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
        sentAtMs.push(time.nowMs());
        await time.sleep(takesMs);
        idle += 1;
        return sent.map(() => ({ kind: 'done' }));
      },
    },
    runtime,
    LIMITS,
  );
  const answers: (NodeReply | NodeFailure)[] = [];
  turns.forEach((requests, turn) => {
    const begin = (): void => {
      for (const request of requests) queue.ask(request, (reply) => void answers.push(reply));
    };
    if (turn === 0) begin();
    else time.after(turn, begin);
  });
  const asked = turns.flat().length;
  await time.settleUntil(1_000, () => answers.length === asked);
  return { sentAtMs, statements, answers };
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

it('few requests behind a statement in flight wait for it, or a little while', async () => {
  const first = [merge(0)];
  const few = [merge(1), merge(2)];
  const many = Array.from({ length: 20 }, (_, index) => merge(index));
  // The first statement takes 5 ms, or 2; what is asked for 1 ms later waits for 3 at most.
  expect((await ask([first, few], 5)).sentAtMs).toEqual([0, 4]);
  expect((await ask([first, few], 2)).sentAtMs).toEqual([0, 2]);
  expect((await ask([first, many], 5)).sentAtMs).toEqual([0, 1]);
});

it('what is more than may wait is refused, and what is larger than that alone goes alone', async () => {
  const { statements, answers } = await ask([[merge(1, 100_000), merge(2)]], 5);
  expect(statements).toEqual([1]);
  expect(answers.map((answer) => answer instanceof NodeFailure)).toEqual([true, false]);
});

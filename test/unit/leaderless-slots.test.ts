import { expect, it } from 'vitest';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../src/consensus/acceptor.ts';
import type { AcceptorState } from '../../src/consensus/acceptor.ts';
import { toVersionedValue } from '../../src/leaderless/core/slot-value.ts';
import { NodeQueue } from '../../src/leaderless/nodes/node-queue.ts';
import type { NodeTransport } from '../../src/leaderless/nodes/requests.ts';
import { Roster } from '../../src/leaderless/roster.ts';
import { Slots } from '../../src/leaderless/slots/slots.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import { runtimeOf } from './leaderless-runtime.ts';

const ballot = { counter: 1, proposer: 'b' };
const WRITTEN: AcceptorState = {
  promised: ballot,
  acceptedBallot: ballot,
  accepted: toVersionedValue(1, '"new"', 'b:1-1'),
};

/** A node that holds one slot, and answers after so long. */
function holding(time: VirtualTime, first: AcceptorState, answersAfterMs: number): NodeTransport {
  let state = first;
  return {
    idle: 2,
    isUp: true,
    onChange: () => undefined,
    send: async (requests) => {
      await time.sleep(answersAfterMs);
      return requests.map((request) => {
        if (request.kind !== 'consensus') throw new TypeError(`nobody asks for ${request.kind}`);
        const step = stepAcceptor(state, request.message);
        state = step.state;
        return { kind: 'consensus', reply: step.reply };
      });
    },
  };
}

it('a read of a value that one of two nodes lacks does not wait for a third that hangs', async () => {
  const time = new VirtualTime();
  const runtime = runtimeOf(time);
  const limits = { maxInFlight: 2, maxKeys: 10, maxBytes: 10_000 };
  const nodes = [
    holding(time, WRITTEN, 10_000),
    holding(time, EMPTY_ACCEPTOR, 1),
    holding(time, WRITTEN, 1),
  ].map((transport, index) => {
    const queue = new NodeQueue(`q${index + 1}`, transport, runtime, limits);
    return { queue, id: () => queue.name };
  });
  const slots = new Slots(new Roster(1, [nodes]), runtime, 60_000);
  let read: unknown;
  void slots.read({ name: 'seats', kind: 'cas' }, '12A', 2_000).then((end) => (read = end));
  await time.settleUntil(60, () => read !== undefined);
  expect(read).toMatchObject({ state: { value: '"new"', version: 1 }, answeredBy: ['q2', 'q3'] });
});

import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type { AcceptorState, ConsensusMessage } from '../../../src/consensus/acceptor.ts';
import { cellId, joinCells } from '../../../src/leaderless/core/cells.ts';
import type { Cell } from '../../../src/leaderless/core/cells.ts';
import { toVersionedValue } from '../../../src/leaderless/core/slot-value.ts';
import { NodeFailure } from '../../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest } from '../../../src/leaderless/nodes/requests.ts';
import { statementOf } from '../../../src/leaderless/nodes/statement-of.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { IndependentServers } from './servers.ts';

let servers: IndependentServers;
let client: pg.Client;

beforeAll(async () => {
  servers = await IndependentServers.start();
  await servers.quorum();
  client = new pg.Client({
    connectionString: servers.servers[0]?.url ?? '',
    types: {
      getTypeParser: ((oid: number) => (oid === 20 ? Number : pg.types.getTypeParser(oid as never))) as never,
    },
  });
  await client.connect();
});

afterAll(async () => {
  await client?.end();
  await servers?.[Symbol.asyncDispose]();
});

async function run(requests: readonly NodeRequest[]): Promise<readonly (NodeReply | NodeFailure)[]> {
  const { text, values, decode } = statementOf(requests, 1, 10_000);
  const { rows } = await client.query({ text, values: values as unknown[], rowMode: 'array' });
  return decode(rows as unknown[][]);
}

it('an acceptor in SQL steps as the pure one does, for any messages in any batches', async () => {
  const random = createRandom(16);
  const whole = (below: number): number => Math.floor(random() * below);
  const states = new Map<string, AcceptorState>();
  const collection = { name: 'slots', kind: 'cas' } as const;
  for (let round = 0; round < 250; round++) {
    const kind = (['prepare', 'accept', 'peek'] as const)[whole(3)] ?? 'peek';
    const keys = ['a', 'b', 'c', 'd'].filter(() => random() < 0.6);
    if (keys.length === 0) continue;
    const messages = keys.map((key): ConsensusMessage => {
      const ballot = { counter: 1 + whole(30), proposer: 'pqrs'[whole(4)] ?? 'p' };
      if (kind === 'peek') return { kind, key };
      if (kind === 'prepare') return { kind, key, ballot };
      const value = random() < 0.2 ? null : JSON.stringify(`it's "${round}"`);
      const proposal = toVersionedValue(round, value, `p:1-${round}`);
      return {
        kind,
        key,
        ballot,
        proposal,
        ...(random() < 0.5 ? { next: { ...ballot, counter: ballot.counter + 1 } } : {}),
      };
    });
    const replies = await run(
      messages.map((message) => ({ kind: 'consensus', collection, key: message.key, message, epoch: 1 })),
    );
    messages.forEach((message, index) => {
      const before = states.get(message.key) ?? EMPTY_ACCEPTOR;
      const step = stepAcceptor(before, message);
      states.set(message.key, step.state);
      const reply = replies[index] as Extract<NodeReply, { kind: 'consensus' }>;
      expect(reply.kind).toBe('consensus');
      expect(reply.reply.kind).toBe(step.reply.kind);
      if (reply.reply.kind === 'reject' || step.reply.kind === 'reject') return;
      const empty = toVersionedValue(0, null, '');
      const expected =
        'accepted' in step.reply && step.reply.accepted.value === undefined
          ? { ...step.reply, accepted: empty }
          : step.reply;
      expect(reply.reply).toEqual(expected);
    });
  }
});

it('cells are merged in SQL as the pure rule joins them, for any cells in any batches', async () => {
  const random = createRandom(17);
  const whole = (below: number): number => Math.floor(random() * below);
  for (const store of ['registers', 'tallies'] as const) {
    const collection = { name: store, kind: store === 'registers' ? 'lww' : 'cart' } as const;
    const model = new Map<string, Cell>();
    for (let round = 0; round < 120; round++) {
      const merged = Array.from({ length: 1 + whole(5) }, (): Cell => {
        const named = { collection: store, key: 'k' };
        if (store === 'tallies') {
          const totals = { added: whole(40), removed: whole(40), bornAt: 5 };
          return { store, ...named, item: 'ij'[whole(2)] ?? '', actor: 'ab'[whole(2)] ?? '', ...totals };
        }
        const at = whole(60);
        const writer = 'vw'[whole(2)] ?? '';
        // Two writes of one writer at one time are one write.
        const value = at % 5 === 0 ? null : `"${at} ${writer}"`;
        return { store, ...named, field: 'fgh'[whole(3)] ?? '', value, at, writer, expiresAtMs: null };
      });
      await run([{ kind: 'merge', collection, store, cells: merged }]);
      for (const cell of merged) {
        const known = model.get(cellId(cell));
        model.set(cellId(cell), known === undefined ? cell : joinCells(known, cell));
      }
      const [reply] = await run([
        { kind: 'read', collection: { name: store, kind: collection.kind }, store, key: 'k' },
      ]);
      if (reply === undefined || reply instanceof NodeFailure || reply.kind !== 'cells')
        throw new Error('no cells');
      const byId = (list: readonly Cell[]): Map<string, Cell> =>
        new Map(list.map((cell) => [cellId(cell), cell]));
      expect(byId(reply.cells)).toEqual(byId([...model.values()]));
    }
  }
});

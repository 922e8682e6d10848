import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type { AcceptorState, ConsensusMessage, VersionedValue } from '../../../src/consensus/acceptor.ts';
import type { Ballot } from '../../../src/consensus/ballot.ts';
import { cellId, joinCells } from '../../../src/leaderless/core/cells.ts';
import type { Cell } from '../../../src/leaderless/core/cells.ts';
import { fromProposal, toVersionedValue } from '../../../src/leaderless/core/slot-value.ts';
import { NodeFailure } from '../../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest } from '../../../src/leaderless/nodes/requests.ts';
import { statementOf } from '../../../src/leaderless/nodes/statement-of.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { ModelNode } from '../../sim/leaderless/model-node.ts';
import { SERVER_RULES } from '../../sim/leaderless/node-rules.ts';
import { IndependentServers } from './servers.ts';

let servers: IndependentServers;
let client: pg.Client;
/** At a node that only one test writes to. */
let alone: pg.Client;

beforeAll(async () => {
  servers = await IndependentServers.start();
  // It founds the nodes, and leaves them to the test.
  await (await servers.quorum()).close();
  [client, alone] = (await Promise.all([0, 1].map(connectTo))) as [pg.Client, pg.Client];
});

afterAll(async () => {
  await client?.end();
  await alone?.end();
  await servers?.[Symbol.asyncDispose]();
});

async function connectTo(index: number): Promise<pg.Client> {
  const connected = new pg.Client({
    connectionString: servers.servers[index]?.url ?? '',
    types: {
      getTypeParser: ((oid: number) => (oid === 20 ? Number : pg.types.getTypeParser(oid as never))) as never,
    },
  });
  await connected.connect();
  return connected;
}

async function run(
  requests: readonly NodeRequest[],
  at: pg.Client = client,
): Promise<readonly (NodeReply | NodeFailure)[]> {
  const { text, values, decode } = statementOf(requests, 1, 10_000);
  const { rows } = await at.query({ text, values: values as unknown[], rowMode: 'array' });
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

/** One process's requests of a single node, with times and ballots that meet often. */
class RandomRequests {
  readonly #random = createRandom(18);
  /** Rises, so that seals and floors leave something to do for those that follow. */
  #now = 20;
  #ballot = 1;
  /** How each slot was taken away last, if that was accepted. */
  readonly #deleted = new Map<string, { readonly accepted: Ballot; readonly promised: Ballot }>();

  next(): readonly NodeRequest[] {
    this.#now += this.whole(3);
    switch (this.whole(14)) {
      case 0:
        return [{ kind: 'seal', at: this.#now * TICK - this.whole(20) * TICK, keepMs: 0, epoch: 1 }];
      case 1: {
        const confirmed = { registers: Number.MAX_SAFE_INTEGER, tallies: Number.MAX_SAFE_INTEGER };
        const floor = (this.#now - this.whole(20)) * TICK;
        return [{ kind: 'collect', floor, confirmed, limit: 1_000, epoch: 1 }];
      }
      case 2:
      case 3:
      case 4:
        return [this.#merge('registers')];
      case 5:
      case 6:
      case 7:
        return [this.#merge('tallies')];
      case 8: {
        const slot = { collection: MODEL_SLOTS, key: this.#key() };
        const told = this.#deleted.get(slot.key) ?? {
          accepted: this.#nearBallot(),
          promised: this.#nearBallot(),
        };
        return [{ kind: 'erase', slots: [{ ...slot, ...told }], epoch: 1 }];
      }
      case 9: {
        const slot = { collection: MODEL_SLOTS.name, key: this.#key() };
        return [
          {
            kind: 'learn',
            slots: [{ ...slot, ballot: this.#nearBallot(), register: this.#register() }],
            epoch: 1,
          },
        ];
      }
      default:
        return [this.#step()];
    }
  }

  whole(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #key(): string {
    return 'kl'[this.whole(2)] ?? 'k';
  }

  #nearBallot(): Ballot {
    return { counter: Math.max(1, this.#ballot + 1 - this.whole(4)), proposer: 'pq'[this.whole(2)] ?? 'p' };
  }

  #register(): VersionedValue {
    const value = this.whole(2) === 0 ? null : '"x"';
    return toVersionedValue(this.#ballot, value, `p:1-${this.#ballot}`);
  }

  #step(): NodeRequest {
    const key = this.#key();
    this.#ballot += this.whole(2);
    const ballot = this.#nearBallot();
    const next = this.whole(2) === 0 ? { next: { ...ballot, counter: ballot.counter + 1 } } : {};
    const proposal = this.#register();
    const isPrepare = this.whole(3) === 0;
    if (!isPrepare && fromProposal(proposal).value === null)
      this.#deleted.set(key, { accepted: ballot, promised: next.next ?? ballot });
    const message: ConsensusMessage = isPrepare
      ? { kind: 'prepare', key, ballot }
      : { kind: 'accept', key, ballot, proposal, ...next };
    return { kind: 'consensus', collection: MODEL_SLOTS, key, message, epoch: 1 };
  }

  #merge(store: Cell['store']): NodeRequest {
    // What one process puts into one collection, for ever, is merged in a way of its own.
    const areAlike = this.whole(2) === 0;
    const cells = Array.from({ length: 1 + this.whole(3) }, () => this.#cell(store, areAlike));
    // A statement joins what it carries twice before the node sees it.
    const once = new Map(cells.map((cell) => [`${cell.key} ${cellId(cell)}`, cell]));
    const collection = { name: `model ${store}`, kind: store === 'registers' ? 'lww' : 'cart' } as const;
    const isRepair = this.whole(2) === 0 ? ({ isRepair: true } as const) : {};
    return { kind: 'merge', collection, store, cells: [...once.values()], ...isRepair };
  }

  #cell(store: Cell['store'], isLikeOthers: boolean): Cell {
    const named = { collection: `model ${store}`, key: this.#key() };
    const tick = Math.max(1, this.#now - this.whole(25));
    if (store === 'tallies') {
      const [added, removed] = [this.whole(4), this.whole(4)];
      return {
        store,
        ...named,
        item: 'i',
        actor: 'ab'[this.whole(2)] ?? '',
        added,
        removed,
        bornAt: tick * TICK,
      };
    }
    const writer = isLikeOthers ? 'v' : ('vw'[this.whole(2)] ?? '');
    const value = tick % 3 === 0 ? null : `"${tick} ${writer}"`;
    const expiresAtMs = isLikeOthers || this.whole(2) === 0 ? null : Math.floor((tick + this.whole(20)) / 2);
    const field = isLikeOthers ? 'f' : ('fg'[this.whole(2)] ?? '');
    return { store, ...named, field, value, at: tick * TICK, writer, expiresAtMs };
  }
}

/** Half a millisecond of hybrid time: lives end between two of them. */
const TICK = 1_024;
/** SQLSTATE of a write that comes after the seal of its time. */
const TOO_LATE_CODE = 'LS003';
const MODEL_SLOTS = { name: 'model slots', kind: 'cas' } as const;

/** What can be seen of a node from outside, to be compared. */
const LOOKS: readonly (readonly NodeRequest[])[] = [
  ...(['registers', 'tallies'] as const).map((store) =>
    ['k', 'l'].map((key): NodeRequest => {
      return { kind: 'read', collection: { name: `model ${store}`, kind: 'lww' }, store, key };
    }),
  ),
  ['k', 'l'].map((key): NodeRequest => ({
    kind: 'consensus',
    collection: MODEL_SLOTS,
    key,
    message: { kind: 'peek', key },
    epoch: 1,
  })),
];

function comparable(reply: NodeReply | NodeFailure): unknown {
  if (reply instanceof NodeFailure) return 'refused';
  if (reply.kind === 'cells')
    return { floor: reply.floor, cells: new Map(reply.cells.map((cell) => [cellId(cell), cell])) };
  // Counted by the node itself.
  if (reply.kind === 'sealed') return reply.at;
  if (reply.kind !== 'consensus') return reply;
  // A server may name a higher ballot than the promised one, which a look afterwards shows.
  if (!('accepted' in reply.reply)) return reply.reply.kind;
  const { kind, acceptedBallot, accepted } = reply.reply;
  const shown = { kind, acceptedBallot, accepted: { version: accepted.version, ...fromProposal(accepted) } };
  if (reply.reply.kind !== 'state') return shown;
  // Nor does a look tell of the floor below which a slot was erased: a step does.
  return acceptedBallot.counter === 0
    ? { kind, acceptedBallot }
    : { ...shown, promised: reply.reply.promised };
}

it('a server does for any requests what the node of the simulation does, also below its seal and its floors', async () => {
  const founded = { epoch: 1, cluster: 'c', members: ['q1'], next: null, addresses: {} };
  const model = new ModelNode('q1', founded, SERVER_RULES, () => Date.now());
  const requests = new RandomRequests();
  const seen = { refused: 0, forgotten: 0, erased: 0 };
  for (let round = 0; round < 1_200; round++) {
    const asked = requests.next();
    const real = await run(asked, alone).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== TOO_LATE_CODE) throw error;
      return [new NodeFailure('too late', { wasSent: false })];
    });
    const modelled = model.commit(model.begin(), asked, 1);
    expect({ round, asked, replies: real.map(comparable) }).toEqual({
      round,
      asked,
      replies: modelled.map(comparable),
    });
    for (const look of LOOKS)
      expect({ round, asked, state: (await run(look, alone)).map(comparable) }).toEqual({
        round,
        asked,
        state: model.commit(model.begin(), look, 1).map(comparable),
      });
    if (real[0] instanceof NodeFailure) seen.refused += 1;
  }
  seen.forgotten = model.forgotten;
  seen.erased = model.erased;
  // The cases that this is for have come up.
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(9);
});

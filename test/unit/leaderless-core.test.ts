import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bringTo, readCart, takeOut } from '../../src/leaderless/core/cart.ts';
import { cellId, covers, joinAll, joinCells, lackingIn } from '../../src/leaderless/core/cells.ts';
import type { Cell } from '../../src/leaderless/core/cells.ts';
import { hlcOfMs, isTooFarAhead, msOfHlc, nextHlc } from '../../src/leaderless/core/hlc.ts';
import { nodesNeeded } from '../../src/leaderless/core/levels.ts';
import { extendLineage, judgeBallot, lineageAbove } from '../../src/leaderless/core/lineage.ts';
import {
  decidePlan,
  findMismatch,
  isSuccessor,
  judgeMembership,
} from '../../src/leaderless/core/membership.ts';
import type { Membership, NodeIdentity } from '../../src/leaderless/core/membership.ts';
import { judgeDoubts, MAX_CALLS, runCalls } from '../../src/leaderless/core/slot-batch.ts';
import { toVersionedValue } from '../../src/leaderless/core/slot-value.ts';

const register = fc
  .record({ field: fc.constantFrom('f', 'g'), at: fc.nat(20), writer: fc.constantFrom('v', 'w') })
  .map(({ field, at, writer }): Cell => ({
    store: 'registers',
    collection: 'c',
    key: 'k',
    field,
    // Two writes of one writer at one time are one write.
    value: at % 3 === 0 ? null : `"${at}${writer}"`,
    at,
    writer,
    expiresAtMs: null,
  }));
const tally = fc
  .record({
    item: fc.constantFrom('1', '2'),
    actor: fc.constantFrom('a', 'b'),
    added: fc.nat(9),
    removed: fc.nat(9),
  })
  .map((cell): Cell => ({ store: 'tallies', collection: 'c', key: 'k', bornAt: 1, ...cell }));
const cells = fc.array(fc.oneof(register, tally), { maxLength: 12 });

describe('cells', () => {
  it('join to the same whatever the order, and however often they come', () => {
    fc.assert(
      fc.property(cells, cells, cells, (a, b, c) => {
        const joined = joinAll([a, b, c]);
        expect(joinAll([c, [...b, ...b], a, c])).toEqual(new Map(joined));
        for (const cell of [...a, ...b, ...c]) {
          const known = joined.get(cellId(cell)) as Cell;
          expect(covers(known, cell)).toBe(true);
          expect(joinCells(known, cell)).toEqual(known);
        }
      }),
    );
  });

  it('that a node lacks are just those that make it whole', () => {
    fc.assert(
      fc.property(cells, cells, (own, other) => {
        const joined = joinAll([own, other]);
        const mine = [...joinAll([own]).values()];
        const lacking = lackingIn(mine, joined);
        expect(joinAll([mine, lacking])).toEqual(joined);
        expect(lackingIn([...joined.values()], joined)).toEqual([]);
      }),
    );
  });
});

describe('a cart', () => {
  it('is brought to the quantity that was asked for, and an add that was not seen comes on top', () => {
    fc.assert(
      fc.property(
        fc.array(tally, { maxLength: 8 }),
        fc.nat(30),
        fc.integer({ min: 1, max: 5 }),
        (list, wanted, more) => {
          const seen = joinAll([list]);
          const { tallies, missing } = bringTo(seen, '1', wanted);
          const own: Cell = {
            store: 'tallies',
            collection: 'c',
            key: 'k',
            item: '1',
            bornAt: 2,
            actor: 'mine',
            added: missing,
            removed: 0,
          };
          const set = tallies.map((cell): Cell => ({ store: 'tallies', ...cell }));
          const after = joinAll([list, set, [own]]);
          const quantityOf = (map: typeof after): number =>
            readCart(map).find(({ sku }) => sku === 1)?.quantity ?? 0;
          expect(quantityOf(after)).toBe(wanted);
          const unseen: Cell = { ...own, actor: 'other', added: more };
          expect(quantityOf(joinAll([[...after.values()], [unseen]]))).toBe(wanted + more);
        },
      ),
    );
  });

  it('is empty when everything that is seen was taken out', () => {
    fc.assert(
      fc.property(fc.array(tally, { maxLength: 8 }), (list) => {
        const out = takeOut(joinAll([list]), null).map((cell): Cell => ({ store: 'tallies', ...cell }));
        expect(readCart(joinAll([list, out]))).toEqual([]);
      }),
    );
  });
});

describe('hybrid time', () => {
  it('never falls, follows the clock, and keeps its milliseconds', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4_000_000_000_000), { maxLength: 20 }), (clock) => {
        let last = 0;
        for (const nowMs of clock) {
          const at = nextHlc(last, nowMs);
          expect(at).toBeGreaterThan(last);
          expect(msOfHlc(at)).toBeGreaterThanOrEqual(nowMs);
          expect(Number.isSafeInteger(at)).toBe(true);
          last = at;
        }
      }),
    );
    expect(isTooFarAhead(hlcOfMs(20_001), 10_000, 10_000)).toBe(true);
    expect(isTooFarAhead(hlcOfMs(20_000), 10_000, 10_000)).toBe(false);
  });
});

it('quorums of reads and writes meet, and accept is no quorum', () => {
  for (const nodes of [3, 5, 7]) {
    expect(2 * nodesNeeded('quorum', nodes)).toBeGreaterThan(nodes);
    expect(nodesNeeded('all', nodes)).toBe(nodes);
    expect(nodesNeeded('accept', nodes)).toBe(1);
  }
});

describe('a lineage', () => {
  it('knows each ballot that was chosen, and denies only what it reaches back to', () => {
    const step = fc.record({ proposer: fc.constantFrom('p', 'q', 'r'), by: fc.integer({ min: 1, max: 3 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let lineage = '';
        let counter = 0;
        const chosen: { counter: number; proposer: string }[] = [];
        for (const { proposer, by } of steps) {
          counter += by;
          chosen.push({ counter, proposer });
          lineage = extendLineage(lineage, { counter, proposer });
        }
        for (const ballot of chosen) {
          expect(judgeBallot(lineage, ballot)).not.toBe('not-applied');
          const other = { ...ballot, proposer: 'x' };
          expect(judgeBallot(lineage, other)).not.toBe('applied');
        }
        if (chosen.length > 0) expect(judgeBallot(lineage, chosen.at(-1) as never)).toBe('applied');
        expect(lineage.length).toBeLessThan(400);
      }),
    );
  });

  it('tells neither yes nor no of what may have been erased with the slot', () => {
    const lineage = extendLineage(lineageAbove(5), { counter: 8, proposer: 'p' });
    const judged = [4, 5, 6, 8].map((counter) => judgeBallot(lineage, { counter, proposer: 'p' }));
    expect(judged).toEqual(['unknown', 'unknown', 'not-applied', 'applied']);
  });

  it.each([
    ['one was chosen, whatever the others', [2, 8, 6], 'applied'],
    ['one may have been', [6, 2], 'unknown'],
    ['none was', [6, 7], 'not-applied'],
  ])('settles doubts: %s', (_, counters, judged) => {
    const current = toVersionedValue(1, '"x"', `${lineageAbove(5)},p:8-8`);
    const doubts = counters.map((counter) => ({ counter, proposer: 'p' }));
    expect(judgeDoubts(doubts, current)).toBe(judged);
  });

  it('gives a key that was erased versions that it never had', () => {
    const ballot = { counter: 3, proposer: 'p' };
    const call = { change: () => '"new"', doubts: [] };
    const made = runCalls([call, call], toVersionedValue(0, null, lineageAbove(2)), ballot);
    expect(made.proposal.version).toBe(2 * MAX_CALLS + 2);
    expect(runCalls([call], made.proposal, { counter: 4, proposer: 'p' }).proposal.version).toBe(
      2 * MAX_CALLS + 3,
    );
  });

  it('answers a call in doubt from its earlier proposal, and does not run it again', () => {
    const append = { change: () => '"again"', doubts: [] };
    const doubtful = { counter: 3, proposer: 'p' };
    const call = {
      ...append,
      doubts: [
        {
          ballot: doubtful,
          result: { kind: 'applied', state: { version: 1, value: '"once"', lineage: '' } } as const,
        },
      ],
    };
    const above = { counter: 9, proposer: 'q' };
    const chosen = toVersionedValue(1, '"once"', 'p:3-3');
    expect(runCalls([call], chosen, above)).toMatchObject({
      proposal: { version: 1 },
      results: [{ kind: 'applied', state: { value: '"once"' } }],
    });
    const lost = toVersionedValue(1, '"other"', 'r:4-4');
    expect(runCalls([call], lost, above)).toMatchObject({
      proposal: { version: 2 },
      results: [{ kind: 'applied', state: { value: '"again"' } }],
    });
  });
});

describe('a membership', () => {
  const fresh: NodeIdentity = {
    systemIdentifier: '1',
    id: '1',
    cluster: null,
    next: null,
    addresses: {},
    isInRecovery: false,
    isDurable: true,
    timeline: '00000001',
    foundedOn: null,
    schemaVersion: null,
    epoch: 0,
    members: null,
    isFounded: false,
  };
  const node = (
    id: string,
    change: Partial<NodeIdentity> = {},
  ): { name: string; address: string; identity: NodeIdentity } => ({
    name: `q${id}`,
    address: `q${id}:5432/app`,
    identity: { ...fresh, systemIdentifier: id, id, ...change },
  });
  const members = ['1', '2', '3'];
  const founded = {
    members,
    cluster: 'c',
    isFounded: true,
    epoch: 1,
    schemaVersion: 1,
    foundedOn: '00000001',
  };

  it('is founded by all, known from one, and finished when a founder ended on the way', () => {
    expect(judgeMembership([node('2'), node('1'), node('3')])).toEqual({ kind: 'to-be-founded', members });
    expect(
      judgeMembership([node('2'), node('1'), { name: 'q3', address: 'q3:5432/app', identity: null }]),
    ).toMatchObject({
      kind: 'refused',
      isRetryable: true,
    });
    const away = { name: 'q', address: 'q:5432/app', identity: null };
    expect(judgeMembership([node('2', founded), away, away])).toMatchObject({
      kind: 'known',
      membership: { members },
    });
    const listed = { members, cluster: 'c', epoch: 1, schemaVersion: 1 };
    expect(judgeMembership([node('1', founded), node('2', listed), node('3', listed)])).toEqual({
      kind: 'to-be-founded',
      members,
    });
  });

  it('is the latest that a majority of those that were named tells, also for a process that was told of others', () => {
    const later = { ...founded, epoch: 3, members: ['1', '2', '4'], addresses: { '4': 'q4:5432/app' } };
    const known = { kind: 'known', membership: { epoch: 3, members: later.members } };
    const away = { name: 'q3', address: 'q3:5432/app', identity: null };
    expect(judgeMembership([node('1', later), node('2', later), node('3', founded)])).toMatchObject(known);
    expect(judgeMembership([node('1', later), node('2', later), away])).toMatchObject(known);
    // One server alone may be restored, damaged, or in wrong hands: it leads nobody anywhere.
    const refused = { kind: 'refused', isRetryable: true };
    const first = { kind: 'known', membership: { epoch: 1, members } };
    expect(judgeMembership([node('1', founded), node('2', later), away])).toMatchObject(first);
    expect(judgeMembership([node('2', later), away, away])).toMatchObject(refused);
    const evil = { ...later, addresses: { '4': 'evil.example:5432/app' } };
    expect(judgeMembership([node('1', later), node('2', evil), away])).toMatchObject(refused);
    expect(judgeMembership([node('1', later), node('2', later), node('4', evil)])).toMatchObject(known);
    expect(judgeMembership([node('1', founded), node('2', evil), node('3', founded)])).toMatchObject(first);
  });

  it('is taken from one server when it names only those that were named here', () => {
    const later = { ...founded, epoch: 3, members: ['1', '2', '4'], addresses: { '4': 'q4:5432/app' } };
    const away = (id: string) => ({ name: `q${id}`, address: `q${id}:5432/app`, identity: null });
    expect(judgeMembership([node('1', later), away('2'), away('4')])).toMatchObject({
      kind: 'known',
      membership: { epoch: 3 },
    });
  });

  it('refuses a server twice, a follower, two quorums, and too few names', () => {
    const problemOf = (nodes: Parameters<typeof judgeMembership>[0]): string =>
      (judgeMembership(nodes) as { problem: string }).problem;
    expect(problemOf([node('1'), node('1'), node('3')])).toContain('named twice, or is a copy');
    expect(problemOf([node('1'), node('2', { isInRecovery: true }), node('3')])).toContain('is a follower');
    expect(
      problemOf([
        node('1', founded),
        node('4', { ...founded, cluster: 'd', members: ['4', '5', '6'] }),
        node('3'),
      ]),
    ).toContain('different quorums');
    expect(problemOf([node('1', founded)])).toContain('name all of them');
  });

  it('refuses a node that lost its tables, was restored, promoted, or belongs elsewhere', () => {
    const known = { epoch: 1, cluster: 'c', members, next: null, addresses: {} };
    const mismatchOf = (id: string, change: Partial<NodeIdentity>): string | null =>
      findMismatch('q', node(id, change).identity, known);
    expect(mismatchOf('1', founded)).toBeNull();
    expect(mismatchOf('1', {})).toContain('lost its data');
    expect(mismatchOf('9', founded)).toContain('none of the servers');
    expect(mismatchOf('1', { ...founded, members: ['1', '8', '9'] })).toContain('another quorum');
    // It was away while members changed, and is told of them.
    expect(
      findMismatch('q', node('1', founded).identity, { ...known, epoch: 3, members: ['1', '2', '4'] }),
    ).toBeNull();
    expect(
      findMismatch('q', node('3', founded).identity, { ...known, epoch: 3, members: ['1', '2', '4'] }),
    ).toContain('any more');
    expect(mismatchOf('1', { ...founded, timeline: '00000002' })).toContain('restored from a backup');
    expect(mismatchOf('1', { ...founded, isInRecovery: true })).toContain('follower');
  });

  it.each([
    ['later members', { epoch: 2 }, true],
    ['the same', { epoch: 1 }, false],
    ['those of another quorum', { epoch: 2, cluster: 'd' }, false],
    ['later ones, before it has its data', { epoch: 2, isFounded: false }, false],
  ])('is succeeded by %s: %o is %s', (_, change, expected) => {
    const known = { epoch: 1, cluster: 'c', members, next: null, addresses: {} };
    expect(isSuccessor(node('1', { ...founded, ...change }).identity, known)).toBe(expected);
  });
});

describe('the plan of a change of members', () => {
  const old: Membership = { epoch: 4, cluster: 'c', members: ['1', '2'], next: null, addresses: {} };
  const aim = { ...old, next: ['1', '3'] };
  const ends = { ...old, members: ['1', '3'], next: null };
  const stands = { ...aim, epoch: 5 };
  const another = { ...old, next: ['2', '4'] };
  it.each([
    ['begins where none stands', null, aim, 4, stands],
    ['follows one that ended', { ...old, epoch: 4 }, aim, 4, stands],
    ['stays when another process goes on with it', stands, aim, 4, null],
    ['is given another aim while it is under way', stands, another, 4, { ...another, epoch: 6 }],
    ['is not, once others are the members', { ...stands, members: ['1', '9'] }, another, 4, null],
    ['is not, once it ended', { ...stands, next: null }, another, 4, null],
    ['ends from the plan whose keys were carried', stands, ends, 5, { ...ends, epoch: 6 }],
    ['does not end from an older one', { ...stands, epoch: 6 }, ends, 5, null],
  ])('%s', (_, before, proposed, epoch, after) => {
    expect(decidePlan(before, proposed, epoch)).toEqual(after);
  });
});

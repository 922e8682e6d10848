import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { takeOut } from '../../src/leaderless/core/cart.ts';
import { covers, isNewer, joinAll, joinCells, valueAt } from '../../src/leaderless/core/cells.ts';
import type { Cell, CellMap, Register } from '../../src/leaderless/core/cells.ts';
import { compareKeys, endOfPrefix, joinPages, nextKey } from '../../src/leaderless/core/key-range.ts';
import { dotsOf, readSiblings } from '../../src/leaderless/core/siblings.ts';
import { readCounter, readSet } from '../../src/leaderless/core/tally-values.ts';
import { parseTtl } from '../../src/leaderless/collections/ttl.ts';

type Step = { readonly replica: number; readonly item: number; readonly what: 'add' | 'remove' | 'sync' };

const steps = fc.array(
  fc.record({
    replica: fc.nat(2),
    item: fc.nat(2),
    what: fc.constantFrom<Step['what']>('add', 'add', 'remove', 'sync'),
  }),
  { maxLength: 30 },
);

function cellsOf(map: CellMap): readonly Cell[] {
  return [...map.values()];
}

/** Replicas that work apart, each with an actor of its own, and meet now and then. */
function runTallies(
  taken: readonly Step[],
  itemOf: (step: Step) => string,
): { readonly replicas: readonly CellMap[]; readonly added: ReadonlyMap<string, number> } {
  const replicas: CellMap[] = [new Map(), new Map(), new Map()];
  const totals = new Map<string, number>();
  const added = new Map<string, number>();
  taken.forEach((step, index) => {
    const own = replicas[step.replica] as CellMap;
    const item = itemOf(step);
    const write = (cells: readonly Cell[]): void => {
      replicas[step.replica] = joinAll([cellsOf(own), cells]);
    };
    if (step.what === 'sync') write(cellsOf(replicas[(step.replica + 1) % 3] as CellMap));
    else if (step.what === 'remove')
      write(takeOut(own, item).map((tally) => ({ store: 'tallies' as const, ...tally })));
    else {
      const total = (totals.get(`${step.replica} ${item}`) ?? 0) + 1;
      totals.set(`${step.replica} ${item}`, total);
      added.set(item, (added.get(item) ?? 0) + 1);
      const actor = `a${step.replica}`;
      write([
        { store: 'tallies', collection: 'c', key: 'k', item, actor, added: total, removed: 0, bornAt: index },
      ]);
    }
  });
  return { replicas, added };
}

describe('sets and counters', () => {
  it('end the same in whatever order replicas meet, and however often', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const { replicas } = runTallies(taken, ({ item }) => `${item}`);
        const [a, b, c] = replicas.map(cellsOf) as [readonly Cell[], readonly Cell[], readonly Cell[]];
        const one = joinAll([a, b, c]);
        const other = joinAll([c, [...a, ...a], b, a, c]);
        expect(readSet(other)).toEqual(readSet(one));
        expect(cellsOf(joinAll([cellsOf(joinAll([a, b])), c])).toSorted(byName)).toEqual(
          cellsOf(joinAll([a, cellsOf(joinAll([b, c]))])).toSorted(byName),
        );
      }),
    );
  });

  it('keep an element that was added while another replica took it out', () => {
    fc.assert(
      fc.property(steps, fc.nat(2), (taken, item) => {
        const { replicas } = runTallies(taken, (step) => `${step.item}`);
        const [left, right] = replicas as [CellMap, CellMap];
        const removed = takeOut(left, `${item}`).map((tally): Cell => ({ store: 'tallies', ...tally }));
        // Its actor is new, as that of a process is which does not know its total.
        const add: Cell = {
          store: 'tallies',
          collection: 'c',
          key: 'k',
          item: `${item}`,
          actor: 'new',
          added: 1,
          removed: 0,
          bornAt: 99,
        };
        expect(readSet(joinAll([cellsOf(left), removed, cellsOf(right), [add]]))).toContain(`${item}`);
      }),
    );
  });

  it('count every add once', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const counted = taken.filter(({ what }) => what !== 'remove');
        const { replicas, added } = runTallies(counted, ({ item }) => (item === 0 ? 'down' : 'up'));
        const joined = joinAll([...replicas, ...replicas].map(cellsOf));
        expect(readCounter(joined)).toBe((added.get('up') ?? 0) - (added.get('down') ?? 0));
      }),
    );
  });
});

function byName(a: Cell, b: Cell): number {
  return JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
}

describe('siblings', () => {
  it('stay until a write that saw them replaced them', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const replicas: CellMap[] = [new Map(), new Map(), new Map()];
        const written = new Set<string>();
        const replaced = new Set<string>();
        taken.forEach((step, index) => {
          const own = replicas[step.replica] as CellMap;
          const write = (cells: readonly Cell[]): void => {
            replicas[step.replica] = joinAll([cellsOf(own), cells]);
          };
          if (step.what === 'sync') return write(cellsOf(replicas[(step.replica + 1) % 3] as CellMap));
          const seen = dotsOf(
            readSiblings(
              cellsOf(own).filter((cell) => cell.store === 'registers'),
              alive,
            ),
          );
          const at = Math.max(index * 10, ...seen.map(([, time]) => time + 1));
          const register = (field: string, value: string | null): Cell => ({
            store: 'registers',
            collection: 'c',
            key: 'k',
            field,
            value,
            at,
            writer: `w${step.replica}`,
            expiresAtMs: null,
          });
          const isReplacing = step.what === 'remove';
          if (isReplacing) for (const [field] of seen) replaced.add(field);
          written.add(`d${index}`);
          write([
            register(`d${index}`, `"${index}"`),
            ...(isReplacing ? seen.map(([field]) => register(field, null)) : []),
          ]);
        });
        const joined = joinAll(replicas.map(cellsOf));
        const left = readSiblings(
          cellsOf(joined).filter((cell) => cell.store === 'registers'),
          alive,
        );
        expect(new Set(left.map(({ field }) => field))).toEqual(
          new Set([...written].filter((field) => !replaced.has(field))),
        );
      }),
    );
  });
});

function alive({ value }: Register): string | null {
  return value;
}

describe('values that end', () => {
  const register = fc.record({
    at: fc.nat(3),
    writer: fc.constantFrom('v', 'w'),
    expiresAtMs: fc.option(fc.nat(3)),
  });
  const cellOf = (given: { at: number; writer: string; expiresAtMs: number | null }): Cell => ({
    store: 'registers',
    collection: 'c',
    key: 'k',
    field: '',
    value: `"${given.at}${given.writer}"`,
    ...given,
  });

  it('are joined in any order to the newest write, with the latest end that it was given', () => {
    fc.assert(
      fc.property(fc.array(register, { minLength: 1 }), (given) => {
        const cells = given.map(cellOf);
        const joined = cells.reduce(joinCells);
        expect(cells.toReversed().reduce(joinCells)).toEqual(joined);
        for (const cell of cells) expect(covers(joined, cell)).toBe(true);
      }),
    );
  });

  it('are none from the moment on', () => {
    const cell = cellOf({ at: 1, writer: 'v', expiresAtMs: 100 }) as Register;
    expect([valueAt(cell, 99), valueAt(cell, 100)]).toEqual(['"1v"', null]);
    expect(valueAt({ ...cell, expiresAtMs: null }, 1e15)).toBe('"1v"');
    // A later end of the same write wins, but not against a later write.
    expect(isNewer({ ...cell, expiresAtMs: 200 }, cell)).toBe(true);
    expect(isNewer({ ...cell, expiresAtMs: null }, { ...cell, expiresAtMs: 200 })).toBe(true);
    expect(isNewer({ ...cell, expiresAtMs: null }, { ...cell, at: 2 })).toBe(false);
  });

  it('live as long as their ttl says', () => {
    expect([parseTtl('7d'), parseTtl('1.5h'), parseTtl('250ms'), parseTtl(90), parseTtl(undefined)]).toEqual([
      604_800_000,
      5_400_000,
      250,
      90,
      null,
    ]);
    for (const wrong of [0, -1, Number.NaN, Infinity, '7x', '', 'd', '1e3s'])
      expect(() => parseTtl(wrong as number)).toThrow('ttl');
  });
});

describe('keys of a scan', () => {
  const key = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 4 })
    .filter((text) => !text.includes('\0'));

  it('that start with a prefix are just those between the prefix and its end', () => {
    fc.assert(
      fc.property(key, key, (prefix, other) => {
        const end = endOfPrefix(prefix);
        for (const text of [other, prefix + other, prefix]) {
          const isWithin = compareKeys(text, prefix) >= 0 && (end === null || compareKeys(text, end) < 0);
          expect(isWithin).toBe(text.startsWith(prefix));
        }
      }),
      { numRuns: 1_000 },
    );
    expect(endOfPrefix('')).toBeNull();
    expect(endOfPrefix('\u{10FFFF}')).toBeNull();
  });

  it('are all given, each once and in order, whichever server has them', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(key), { minLength: 2, maxLength: 3 }),
        fc.integer({ min: 1, max: 4 }),
        (held, limit) => {
          const sorted = held.map((keys) => keys.toSorted(compareKeys));
          const given: string[] = [];
          let from = '';
          for (;;) {
            const pages = sorted.map((keys) => {
              const rest = keys.filter((text) => compareKeys(text, from) >= 0).slice(0, limit);
              return { keys: rest, isWhole: rest.length < limit };
            });
            const page = joinPages(pages);
            given.push(...page.keys);
            const last = page.keys.at(-1);
            if (page.isWhole || last === undefined) break;
            from = nextKey(last);
          }
          expect(given).toEqual([...new Set(held.flat())].sort(compareKeys));
        },
      ),
    );
  });
});

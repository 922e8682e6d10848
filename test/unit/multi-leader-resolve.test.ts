import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineRegions, lastWriteWins, resolve } from '../../src/multi-leader/index.ts';
import {
  describeDefinition,
  findResolver,
  parseDefinition,
  rulesFor,
} from '../../src/multi-leader/definition.ts';
import type { Image } from '../../src/multi-leader/core/image.ts';
import { resolveRow } from '../../src/multi-leader/core/resolve-rule.ts';
import type { Answer, Question } from '../../src/multi-leader/core/resolve-rule.ts';
import type { Operation } from '../../src/multi-leader/core/merge.ts';
import { callPurely } from '../../src/multi-leader/resolve/pure-call.ts';
import { ResolverRunner } from '../../src/multi-leader/resolve/resolver-runner.ts';
import { imageOf, valuesOf } from '../../src/multi-leader/resolve/row-values.ts';
import type { TableShape } from '../../src/multi-leader/tables/shape.ts';

const COLUMNS = [
  { name: 'id', typeOid: 23, typeName: 'int4' },
  { name: 'tags', typeOid: 1009, typeName: '_text' },
  { name: 'at', typeOid: 1184, typeName: 'timestamptz' },
  { name: 'extra', typeOid: 3802, typeName: 'jsonb' },
  { name: 'ok', typeOid: 16, typeName: 'bool' },
];

function run(
  operations: readonly Operation[],
  here: Image | null,
  answer: (question: Question) => Answer,
): { readonly wanted: Image | null; readonly questions: Question[] } {
  const questions: Question[] = [];
  const steps = resolveRow(['1', ''], operations, ['last', 'last'], here);
  let step = steps.next();
  while (step.done !== true) {
    questions.push(step.value);
    step = steps.next(answer(step.value));
  }
  return { wanted: step.value.wanted, questions };
}

const op = (timeUs: number, old: Image | null, row: Image | null): Operation => ({
  version: { timeUs, region: timeUs % 3, lsn: 0n },
  old,
  row,
});
const join2 = ({ a, b }: Question): Answer => ({
  kind: 'row',
  row: ['1', `${a?.[1] ?? '-'}${b?.[1] ?? '-'}`],
});

describe('a row with conflicts', () => {
  it('is asked about once for each write that had not seen the one before, each from the answer before', () => {
    const three = [op(1, ['1', ''], ['1', 'a']), op(2, ['1', ''], ['1', 'b']), op(3, ['1', ''], ['1', 'c'])];
    const { wanted, questions } = run(three, ['1', 'c'], join2);
    expect(wanted).toEqual(['1', 'abc']);
    expect(questions.map(({ kind, base, a, b }) => [kind, base?.[1], a?.[1], b?.[1]])).toEqual([
      ['update/update', '', 'a', 'b'],
      ['update/update', '', 'ab', 'c'],
    ]);
  });

  it('is asked about with what was written meanwhile, and not where nothing was decided', () => {
    const two = [op(1, ['1', ''], ['1', 'a']), op(2, ['1', ''], ['1', 'b'])];
    expect(run(two, ['1', 'later'], join2).wanted).toEqual(['1', 'ablater']);
    const seen = [op(1, ['1', ''], ['1', 'a']), op(2, ['1', 'a'], ['1', 'b'])];
    expect(run(seen, ['1', 'later'], join2)).toEqual({ wanted: ['1', 'later'], questions: [] });
  });

  it('stays as the last writes have it where the answer is to park', () => {
    const two = [op(1, ['1', ''], ['1', 'a']), op(2, ['1', ''], null)];
    const { wanted, questions } = run(two, null, () => ({ kind: 'parked', reason: 'x', isFault: false }));
    expect([wanted, questions[0]?.kind]).toEqual([null, 'update/delete']);
  });
});

describe('values of a row', () => {
  it('are those of node-postgres, and keep their text where they are given back', () => {
    const image = ['1', '{a,"b c"}', '2026-01-02 03:04:05.678901+00', '{"x": [1]}', 't'];
    const values = valuesOf(image, COLUMNS);
    expect(values).toMatchObject({ id: 1, tags: ['a', 'b c'], extra: { x: [1] }, ok: true });
    expect(imageOf({ ...values }, COLUMNS, [image])).toEqual(image);
    expect(
      imageOf({ ...values, tags: ['z', ''], extra: [1, { y: 2 }], ok: false }, COLUMNS, [image]),
    ).toEqual(['1', '{z,""}', '2026-01-02 03:04:05.678901+00', '[1,{"y":2}]', 'false']);
  });

  it('are refused where a column is missing, strange, or holds what no column can', () => {
    const image = ['1', '{}', null, null, null];
    const values = valuesOf(image, COLUMNS) ?? {};
    expect(() => imageOf({ id: 1 }, COLUMNS, [image])).toThrow('lacks column tags');
    expect(() => imageOf({ ...values, more: 1 }, COLUMNS, [image])).toThrow('there is no column more');
    expect(() => imageOf({ ...values, ok: () => true }, COLUMNS, [image])).toThrow('no value of type bool');
  });

  it('read as they were written, whatever text they hold', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.jsonValue(), (tags, extra) => {
        const given = { id: 7, tags, at: null, extra, ok: true };
        const image = imageOf(given, COLUMNS, []);
        const again = valuesOf(image, COLUMNS);
        expect(again?.['tags']).toEqual(tags);
        if (extra !== null) expect(again?.['extra']).toEqual(JSON.parse(JSON.stringify(extra)));
      }),
    );
  });
});

describe('a pure call', () => {
  it('has no time, chance or later, and leaves them as they were', () => {
    for (const call of [
      () => Math.random(),
      () => Date.now(),
      () => new Date(),
      () => crypto.randomUUID(),
      () => performance.now(),
      () => setTimeout(() => undefined, 0),
    ])
      expect(() => callPurely<unknown>(call)).toThrow('which gives another answer each time');
    expect(callPurely(() => new Date(0) instanceof Date && new Date('2026-01-01').getTime())).toBe(
      Date.UTC(2026, 0, 1),
    );
    expect(Math.random()).toBeLessThan(1);
    expect(new Date()).toBeInstanceOf(Date);
  });
});

describe('the definition', () => {
  const decide = resolve<{ id: number }>(({ keep, b }) => keep(b), { id: lastWriteWins() });
  const definition = defineRegions({ tables: { 'shop.carts': decide, plain: {} } });

  it('names a resolver and the rules beside it', () => {
    const parsed = parseDefinition(definition, 'x.ts');
    expect(findResolver(parsed, 'shop.carts')).toBe(decide.resolve);
    expect(findResolver(parsed, 'public.plain')).toBeNull();
    expect(rulesFor(parsed, 'shop.carts')).toEqual({ id: { rule: 'last' } });
    expect(rulesFor(parsed, 'public.plain')).toEqual({});
    expect(rulesFor(parsed, 'public.other')).toBeNull();
    expect(() => parseDefinition({ tables: { carts: { resolve: 7, columns: {} } } }, 'x.ts')).toThrow('x.ts');
  });

  it('is the same text for the same decisions, and another for another resolver', () => {
    const { tables = {} } = definition;
    const turned = Object.fromEntries(Object.entries(tables).toReversed());
    expect(describeDefinition({ ...definition, tables: turned })).toBe(describeDefinition(definition));
    const other = { ...tables, 'shop.carts': resolve(({ keep, a }) => keep(a)) };
    expect(describeDefinition({ tables: other })).not.toBe(describeDefinition(definition));
  });
});

describe('the thread of resolvers', () => {
  let folder: string;
  let runner: ResolverRunner;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-resolvers-'));
    const path = join(folder, 'definition.mjs');
    const bodies = {
      later: '({ b, keep }) => keep(b)',
      later_as_promise: 'async ({ b, keep }) => { await 0; for (;;); }',
      endless: '() => { for (;;); }',
      greedy: '() => { const all = []; for (;;) all.push(new Array(100000).fill(1)); }',
      leaves: '() => process.exit(3)',
      nothing: '() => {}',
      other_key: '({ b, keep }) => keep({ ...b, id: 9 })',
      changes_rows: '({ b, keep }) => { b.tags.push("x"); return keep(b); }',
      differs: '(() => { let n = 0; return ({ merge }) => merge({ tags: [String(n++)] }); })()',
    };
    const tables = Object.entries(bodies).map(([name, body]) => `${name}: { resolve: ${body}, columns: {} }`);
    await writeFile(path, `export default { tables: { ${tables.join(', ')} } };`);
    runner = new ResolverRunner(path, 500);
  });
  afterAll(async () => {
    await runner?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const shape = (name: string): TableShape =>
    ({ name: `public.${name}`, columns: COLUMNS, key: [0] }) as unknown as TableShape;
  const a = ['1', '{a}', null, null, null];
  const b = ['1', '{b}', null, null, null];
  const question: Question = { kind: 'update/update', base: ['1', '{}', null, null, null], a, b, merged: b };
  const ask = async (table: string): Promise<Answer> => (await runner.ask(shape(table), question)).answer;

  it.each([
    ['later_as_promise', /promise/],
    ['endless', /did not return within 0.5 s/],
    ['greedy', /memory|did not return/],
    ['leaves', /ended its thread/],
    ['nothing', /returned nothing that keep, merge or park gave/],
    ['other_key', /another primary key/],
    ['differs', /gives another answer for the same rows/],
    ['unknown', /has no resolver for public.unknown/],
  ])('parks what %s does not decide, and the next is asked as ever', async (table, reason) => {
    expect(await ask(table)).toMatchObject({
      kind: 'parked',
      isFault: true,
      reason: expect.stringMatching(reason),
    });
    expect(await ask('later')).toEqual({ kind: 'row', row: b });
  });

  it('gives rows of its own each time', async () => {
    expect(await ask('changes_rows')).toEqual({ kind: 'row', row: ['1', '{b,x}', null, null, null] });
  });

  it('says when the file cannot be loaded', async () => {
    const missing = new ResolverRunner(join(folder, 'missing.mjs'));
    await expect(missing.ask(shape('later'), question)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

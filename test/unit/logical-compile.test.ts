import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileExact, compileGrouped } from '../../src/logical/apply/core/compile.ts';
import type { ApplyStatement } from '../../src/logical/apply/core/compile.ts';
import { planTable } from '../../src/logical/apply/core/table-plan.ts';
import type { PlanResult, TablePlan } from '../../src/logical/apply/core/table-plan.ts';
import { isSameInBinary } from '../../src/logical/apply/core/target-table.ts';
import type { PgType } from '../../src/logical/apply/core/target-table.ts';
import { RowChange } from '../../src/logical/core/change.ts';
import type { Relation } from '../../src/logical/core/relation.ts';

const TEXT: PgType = {
  oid: 25,
  schema: 'pg_catalog',
  name: 'text',
  kind: 'base',
  inner: null,
  isSendable: true,
};
const relation: Relation = {
  oid: 1,
  schema: 'public',
  name: 't',
  replicaIdentity: 'default',
  columns: ['id', 'a', 'b'].map((name) => ({ name, typeOid: 25, typeModifier: -1, isKey: name === 'id' })),
};

function planned(isKeyGenerated: boolean): PlanResult {
  return planTable({
    relation,
    target: {
      schema: 'public',
      name: 't',
      runsAs: null,
      isPartitioned: false,
      keys: [['id']],
      columns: relation.columns.map(({ name }) => ({
        name,
        type: TEXT,
        isGenerated: isKeyGenerated && name === 'id',
        isIdentityAlways: false,
        wrapper: null,
      })),
    },
    typeOf: () => TEXT,
    format: 'binary',
  });
}

function plan(): TablePlan {
  const result = planned(false);
  if (result.kind !== 'plan') throw new Error(result.kind);
  return result.plan;
}

/** A value, NULL, or undefined for one that an update leaves as it is. */
type Value = string | null | undefined;

function tuple(values: readonly Value[]): Buffer {
  const fields = values.map((value) => {
    if (value === null) return Buffer.from('n');
    if (value === undefined) return Buffer.from('u');
    const bytes = Buffer.from(value);
    const head = Buffer.from('b\0\0\0\0');
    head.writeUInt32BE(bytes.length, 1);
    return Buffer.concat([head, bytes]);
  });
  return Buffer.concat([Buffer.from([0, values.length]), ...fields]);
}

function change(kind: 'insert' | 'update' | 'delete', row: readonly Value[], oldKey?: string): RowChange {
  const old = kind === 'delete' ? tuple(row) : oldKey === undefined ? null : tuple([oldKey, null, null]);
  const after = kind === 'delete' ? null : tuple(row);
  const buffer = Buffer.concat([old ?? Buffer.alloc(0), after ?? Buffer.alloc(0)]);
  const newAt = after === null ? -1 : (old?.length ?? 0);
  return new RowChange(
    kind,
    relation,
    buffer,
    old === null ? -1 : 0,
    false,
    newAt,
    buffer.length,
    () => null,
  );
}

/** The values of a binary array of text. */
function elements(bytes: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  if (bytes.readInt32BE(0) === 0) return values;
  for (let at = 20; at < bytes.length;) {
    const length = bytes.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : bytes.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return values;
}

/** The columns of COPY's binary format. */
function copied(data: Buffer): (string | null)[][] {
  const columns: (string | null)[][] = [[], [], []];
  expect(data.subarray(0, 11).toString('latin1')).toBe('PGCOPY\n\xff\r\n\0');
  let at = 19;
  for (; data.readInt16BE(at) >= 0;) {
    expect(data.readInt16BE(at)).toBe(3);
    at += 2;
    for (const column of columns) {
      const length = data.readInt32BE(at);
      at += 4;
      column.push(length < 0 ? null : data.toString('utf8', at, at + length));
      if (length > 0) at += length;
    }
  }
  expect(at + 2).toBe(data.length);
  return columns;
}

/** A table that runs the statements as PostgreSQL does. */
class ModelTable {
  readonly rows = new Map<string, (string | null)[]>();

  run(statements: readonly ApplyStatement[]): void {
    for (const { kind, text, values, copyData } of statements) {
      const columns = copyData === undefined ? values.map(elements) : copied(copyData);
      const count = columns[0]?.length ?? 0;
      const names =
        copyData === undefined
          ? [...(/AS u\(([^)]*)\)/.exec(text)?.[1] ?? '').matchAll(/[co]\d+/g)].map(([name]) => name)
          : ['c0', 'c1', 'c2'];
      expect(new Set(columns.map((column) => column.length)).size).toBe(1);
      const keys = columns[names.indexOf(names.includes('o0') ? 'o0' : 'c0')] ?? [];
      expect(new Set(keys).size, 'a key twice in one statement').toBe(count);
      for (let index = 0; index < count; index++) {
        const given = new Map(names.map((name, at) => [name, columns[at]?.[index] ?? null]));
        const key = keys[index] ?? '';
        if (kind === 'delete') this.rows.delete(key);
        else if (kind === 'insert') {
          expect(this.rows.has(key)).toBe(false);
          this.rows.set(key, [given.get('c1') ?? null, given.get('c2') ?? null]);
        } else {
          const row = this.rows.get(key);
          if (row === undefined) throw new Error(`no row ${key}`);
          this.rows.delete(key);
          this.rows.set(given.get('c0') ?? key, [
            given.has('c1') ? (given.get('c1') ?? null) : (row[0] ?? null),
            given.has('c2') ? (given.get('c2') ?? null) : (row[1] ?? null),
          ]);
        }
      }
    }
  }
}

/** Changes that a source could have made, from any wishes. */
function history(wishes: readonly (readonly [number, number, Value, Value, number])[]): RowChange[] {
  const rows = new Set<string>();
  const changes: RowChange[] = [];
  for (const [kind, id, a, b, other] of wishes) {
    const key = `k${id}`;
    if (!rows.has(key)) {
      rows.add(key);
      changes.push(change('insert', [key, a ?? null, b ?? null]));
    } else if (kind === 0) {
      rows.delete(key);
      changes.push(change('delete', [key, null, null]));
    } else if (kind === 1 && !rows.has(`k${other}`)) {
      rows.delete(key);
      rows.add(`k${other}`);
      changes.push(change('update', [`k${other}`, a, b], key));
    } else changes.push(change('update', [key, a, b]));
  }
  return changes;
}

const value = fc.constantFrom<Value>('x', 'y', '', null, undefined);
const wishes = fc.array(fc.tuple(fc.nat(4), fc.nat(8), value, value, fc.nat(8)), { maxLength: 60 });

describe('a batch of changes', () => {
  it('does the same grouped as one by one', () => {
    fc.assert(
      fc.property(wishes, fc.nat(40), (list, first) => {
        const changes = history(list);
        const [one, other] = [new ModelTable(), new ModelTable()];
        const [planA, planB] = [plan(), plan()];
        one.run(compileExact(changes, () => planA));
        // Two batches: what the first leaves is what the second finds.
        other.run(compileGrouped(changes.slice(0, first), () => planB));
        other.run(compileGrouped(changes.slice(first), () => planB));
        expect(new Map([...other.rows].toSorted())).toEqual(new Map([...one.rows].toSorted()));
      }),
    );
  });

  it('of one row is one statement with one row', () => {
    const one = plan();
    const changes = [1, 2, 3].map((n) => change('update', ['k', String(n), undefined]));
    const statements = compileGrouped(changes, () => one);
    expect(statements.map(({ kind, rows, text }) => [kind, rows, text])).toEqual([
      [
        'update',
        1,
        'UPDATE "public"."t" AS t SET "a" = u.c1 FROM unnest($1::"pg_catalog"."text"[], $2::"pg_catalog"."text"[]) AS u(c0, c1) WHERE t."id" = u.c0',
      ],
    ]);
    expect(statements[0]?.values.map(elements)).toEqual([['k'], ['3']]);
  });

  it('keeps the order of changes before and after its table was altered', () => {
    const [before, after] = [plan(), { ...plan(), relation: { ...relation } }];
    const inserted = change('insert', ['k', 'a', 'b']);
    const updated = Object.assign(change('update', ['k', 'c', 'd']), { relation: after.relation });
    const statements = compileGrouped([inserted, updated], (of) => (of === relation ? before : after));
    expect(statements.map(({ kind }) => kind)).toEqual(['insert', 'update']);
  });

  it('that comes and goes within it is nothing', () => {
    const one = plan();
    const changes = [
      change('insert', ['k', 'a', 'b']),
      change('update', ['k', 'c', 'd']),
      change('delete', ['k', null, null]),
    ];
    expect(compileGrouped(changes, () => one)).toEqual([]);
  });
});

describe('a table of the target', () => {
  it('cannot be followed while a column of its key is generated there', () => {
    expect(planned(true)).toEqual({
      kind: 'misfit',
      sentence: expect.stringContaining('Make column id of table public.t an ordinary one at the target'),
    });
  });
});

describe('a type', () => {
  const own = (name: string, oid = 20_000): PgType => ({
    oid,
    schema: 'public',
    name,
    kind: 'enum',
    inner: null,
    isSendable: true,
  });

  it.each([
    [own('region'), true],
    [own('tidy'), true],
    [{ ...own('pg_lsn', 3220), kind: 'base' as const }, true],
    [{ ...own('regclass', 2205), kind: 'base' as const }, false],
    [{ ...own('tid', 27), kind: 'base' as const }, false],
  ])('$name', (type, isSame) => {
    expect(isSameInBinary(type, type)).toBe(isSame);
  });
});

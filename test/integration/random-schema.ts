/** Numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface TypeChoice {
  readonly sql: string;
  /** A literal of few different values, so that keys meet again. */
  readonly literal: (pick: (count: number) => number) => string;
  readonly isKeyType: boolean;
  /** Travels only as text. */
  readonly isTextOnly?: boolean;
}

const TYPES: readonly TypeChoice[] = [
  { sql: 'int2', literal: (pick) => String(pick(20) - 10), isKeyType: true },
  { sql: 'int4', literal: (pick) => String(pick(30)), isKeyType: true },
  { sql: 'int8', literal: (pick) => String(pick(30) * 4_000_000_000), isKeyType: true },
  { sql: 'numeric', literal: (pick) => `${pick(20)}.${'0'.repeat(pick(3))}${pick(2)}`, isKeyType: true },
  { sql: 'numeric(12,3)', literal: (pick) => `${pick(9)}.${pick(999)}`, isKeyType: true },
  { sql: 'text', literal: (pick) => `'t${pick(30)}${'é'.repeat(pick(3))}'`, isKeyType: true },
  { sql: 'varchar(20)', literal: (pick) => `'v''${pick(30)}'`, isKeyType: true },
  { sql: 'char(6)', literal: (pick) => `'c${pick(30)}'`, isKeyType: true },
  { sql: 'bool', literal: (pick) => (pick(2) === 0 ? 'true' : 'false'), isKeyType: false },
  { sql: 'date', literal: (pick) => `date '2020-01-01' + ${pick(30)}`, isKeyType: true },
  { sql: 'time', literal: (pick) => `time '00:00' + interval '${pick(86_000)} seconds'`, isKeyType: true },
  { sql: 'timetz', literal: (pick) => `timetz '00:00+0${pick(9)}'`, isKeyType: true },
  {
    sql: 'timestamp',
    literal: (pick) => `timestamp '1999-12-31' + interval '${pick(30)} hours'`,
    isKeyType: true,
  },
  {
    sql: 'timestamptz',
    literal: (pick) => `timestamptz '2000-01-01' - interval '${pick(30)} days'`,
    isKeyType: true,
  },
  {
    sql: 'interval',
    literal: (pick) => `interval '${pick(3)} mons ${pick(40)} days ${pick(50)} hours'`,
    isKeyType: false,
  },
  {
    sql: 'uuid',
    literal: (pick) => `'00000000-0000-4000-8000-0000000000${String(10 + pick(30))}'`,
    isKeyType: true,
  },
  { sql: 'bytea', literal: (pick) => `'\\x00ff${String(10 + pick(30))}'`, isKeyType: true },
  { sql: 'json', literal: (pick) => `'{"a": [${pick(9)}, null]}'`, isKeyType: false },
  { sql: 'jsonb', literal: (pick) => `'{"b": {"c": ${pick(9)}.0}}'`, isKeyType: false },
  { sql: 'inet', literal: (pick) => `'10.0.0.${pick(30)}/2${pick(9)}'`, isKeyType: true },
  { sql: 'macaddr', literal: (pick) => `'08:00:2b:01:02:${String(10 + pick(30))}'`, isKeyType: true },
  { sql: 'float4', literal: (pick) => `${pick(9)}.1`, isKeyType: false },
  {
    sql: 'float8',
    literal: (pick) => ['-0.0', "'NaN'", "'-Infinity'", '0.1', '1e300'][pick(5)] ?? '1',
    isKeyType: false,
  },
  { sql: 'money', literal: (pick) => `'${pick(99)}.50'`, isKeyType: false },
  { sql: 'point', literal: (pick) => `'(${pick(9)},0.5)'`, isKeyType: false },
  { sql: 'bit(5)', literal: (pick) => `${pick(31)}::bit(5)`, isKeyType: false },
  { sql: 'varbit', literal: (pick) => `B'${'10'.repeat(1 + pick(4))}'`, isKeyType: false },
  { sql: 'tsvector', literal: (pick) => `'word${pick(9)}:3 other:1'`, isKeyType: false },
  { sql: 'int4range', literal: (pick) => `int4range(${pick(9)}, ${10 + pick(9)})`, isKeyType: true },
  { sql: 'tstzrange', literal: (pick) => `tstzrange('2020-01-0${1 + pick(8)}', NULL)`, isKeyType: false },
  { sql: 'nummultirange', literal: (pick) => `'{[1,${2 + pick(5)}),[20,30]}'`, isKeyType: false },
  {
    sql: 'int4[]',
    literal: (pick) => ["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[2:3]={5,6}'"][pick(4)] ?? 'NULL',
    isKeyType: false,
  },
  { sql: 'text[]', literal: (pick) => `ARRAY['a"${pick(9)}', NULL, '']`, isKeyType: false },
  {
    sql: 'timestamptz[]',
    literal: (pick) => `ARRAY[timestamptz '2020-01-0${1 + pick(8)}']`,
    isKeyType: false,
  },
  { sql: 'large_text', literal: (pick) => `repeat('${pick(9)}x', ${pick(2) * 6_000 + 3})`, isKeyType: false },
  { sql: 'mood', literal: (pick) => (pick(2) === 0 ? "'sad'" : "'happy'"), isKeyType: true },
  { sql: 'small', literal: (pick) => String(pick(20)), isKeyType: true },
  {
    sql: 'mood[]',
    literal: (pick) => `ARRAY['sad','happy']::mood[] || '${pick(2) === 0 ? 'sad' : 'happy'}'::mood`,
    isKeyType: false,
    isTextOnly: true,
  },
  {
    sql: 'pair',
    literal: (pick) => `ROW(${pick(9)}, 'q"${pick(9)}')::pair`,
    isKeyType: false,
    isTextOnly: true,
  },
  {
    sql: 'tags',
    literal: (pick) => ["'{}'", `'{a,NULL}'`, `ARRAY['b"', 'c${pick(9)}']::tags`][pick(3)] ?? 'NULL',
    isKeyType: false,
  },
  { sql: 'jsonb[]', literal: (pick) => `ARRAY['{"a": ${pick(9)}}', 'null']::jsonb[]`, isKeyType: false },
  { sql: 'numeric[]', literal: (pick) => `'{1.${pick(9)}0,NaN}'`, isKeyType: false },
  { sql: 'int4range[]', literal: (pick) => `ARRAY[int4range(${pick(9)}, 20), 'empty']`, isKeyType: false },
  {
    sql: 'small[]',
    literal: (pick) => `ARRAY[${pick(9)}, NULL]::small[]`,
    isKeyType: false,
    isTextOnly: true,
  },
  {
    sql: 'daterange',
    literal: (pick) => `daterange('2020-01-0${1 + pick(8)}', '2020-02-01')`,
    isKeyType: true,
  },
  { sql: 'cidr', literal: (pick) => `'10.${pick(30)}.0.0/16'`, isKeyType: true },
  { sql: 'macaddr8', literal: (pick) => `'08:00:2b:01:02:03:04:${String(10 + pick(30))}'`, isKeyType: true },
  { sql: 'oid', literal: (pick) => String(4_000_000_000 + pick(20)), isKeyType: true },
  { sql: '"char"', literal: (pick) => `'${'abcdef'[pick(6)]}'`, isKeyType: true },
  { sql: 'pg_lsn', literal: (pick) => `'0/${pick(9)}F'`, isKeyType: true },
  { sql: 'box', literal: (pick) => `'((${pick(9)},1),(0,0.5))'`, isKeyType: false },
  { sql: 'polygon', literal: (pick) => `'((0,0),(${pick(9)},1),(2,0))'`, isKeyType: false },
  { sql: 'tsquery', literal: (pick) => `'a${pick(9)} & !b'`, isKeyType: false },
  { sql: 'jsonpath', literal: (pick) => `'$.a[${pick(9)}]'`, isKeyType: false },
  { sql: 'floatrange', literal: (pick) => `floatrange(0.5, ${1 + pick(9)})`, isKeyType: false },
];

/** A schema and changes that a database could see. */
export interface RandomCase {
  readonly types: string;
  readonly tables: readonly string[];
  readonly source: string;
  readonly target: string;
  readonly changes: readonly string[];
}

const TYPES_SQL = `CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN small AS int4 CHECK (VALUE < 100);
  CREATE DOMAIN large_text AS text; CREATE DOMAIN tags AS text[]; CREATE TYPE pair AS (a int, b text);
  CREATE TYPE floatrange AS RANGE (subtype = float8);`;

/** How its rows lie. Each side has its own way. */
type Layout = 'plain' | 'by hash' | 'by list';

/** By what its rows are told apart. */
type Identity = 'primary key' | 'unique index' | 'whole row';

interface RandomTable {
  readonly name: string;
  readonly identity: Identity;
  readonly keys: readonly { readonly name: string; readonly type: TypeChoice }[];
  readonly values: readonly { readonly name: string; readonly type: TypeChoice }[];
}

/** The same seed gives the same case; names begin with `prefix`. */
export function randomCase(seed: number, prefix: string, isTextAllowed: boolean): RandomCase {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  const types = TYPES.filter(({ isTextOnly }) => isTextAllowed || isTextOnly !== true);
  const keyTypes = types.filter(({ isKeyType }) => isKeyType);
  const choose = (from: readonly TypeChoice[]): TypeChoice => from[pick(from.length)] as TypeChoice;
  const tables = Array.from({ length: 5 }, (_, index): RandomTable => ({
    name: `${prefix}_${index}`,
    identity:
      (['primary key', 'primary key', 'unique index', 'whole row'] as const)[pick(4)] ?? 'primary key',
    keys: Array.from({ length: 1 + pick(2) }, (__, at) => ({ name: `k${at}`, type: choose(keyTypes) })),
    values: Array.from({ length: 1 + pick(7) }, (__, at) => ({ name: `v${at}`, type: choose(types) })),
  }));
  return {
    types: TYPES_SQL,
    tables: tables.map(({ name }) => name),
    source: tables.map((table) => createTable(table, true, pick)).join('\n'),
    target: tables.map((table) => createTable(table, false, pick)).join('\n'),
    changes: Array.from({ length: 120 }, () => randomTransaction(tables, pick)),
  };
}

function createTable(
  { name, identity, keys, values }: RandomTable,
  isSource: boolean,
  pick: (count: number) => number,
): string {
  const layout = (['plain', 'plain', 'by hash', 'by list'] as const)[pick(4)] ?? 'plain';
  const order = isSource || pick(2) === 0 ? [...keys, ...values] : [...values, ...keys];
  const columns = order.map((column) => `${column.name} ${column.type.sql}`);
  columns.push(
    `length int GENERATED ALWAYS AS (${values.length} + coalesce(length(v_note), 0)) STORED`,
    'v_note text',
  );
  const list = keys.map((key) => key.name).join(', ');
  // The target finds rows by a primary key whatever the source tells them apart by.
  const hasPrimaryKey = !isSource || identity !== 'unique index';
  if (hasPrimaryKey) columns.push(`PRIMARY KEY (${list})`);
  const statements = [`CREATE TABLE ${name} (${columns.join(', ')})${partitioning(layout)}`];
  const parts = partitionsOf(name, layout);
  statements.push(
    ...parts.map(({ table, bounds }) => `CREATE TABLE ${table} PARTITION OF ${name} ${bounds}`),
  );
  if (isSource && identity === 'unique index') {
    for (const { name: key } of keys) statements.push(`ALTER TABLE ${name} ALTER ${key} SET NOT NULL`);
    statements.push(`CREATE UNIQUE INDEX ${name}_key ON ${name} (${list})`);
  }
  if (isSource)
    statements.push(
      ...identities(
        name,
        identity,
        parts.map(({ table }) => table),
        list,
      ),
    );
  return `${statements.join('; ')};`;
}

function partitioning(layout: Layout): string {
  if (layout === 'plain') return '';
  return ` PARTITION BY ${layout === 'by hash' ? 'HASH' : 'LIST'} (k0)`;
}

/** By list there is one for all: its rows come under another name than the table's own. */
function partitionsOf(name: string, layout: Layout): { readonly table: string; readonly bounds: string }[] {
  if (layout === 'plain') return [];
  if (layout === 'by list') return [{ table: `${name}_all`, bounds: 'DEFAULT' }];
  return [0, 1, 2].map((remainder) => ({
    table: `${name}_${remainder}`,
    bounds: `FOR VALUES WITH (MODULUS 3, REMAINDER ${remainder})`,
  }));
}

/** Each partition has one of its own. */
function identities(name: string, identity: Identity, parts: readonly string[], keys: string): string[] {
  if (identity === 'primary key') return [];
  if (identity === 'whole row')
    return [name, ...parts].map((table) => `ALTER TABLE ${table} REPLICA IDENTITY FULL`);
  const own = parts.map(
    (table) => `ALTER TABLE ${table} REPLICA IDENTITY USING INDEX ${indexOf(table, keys)}`,
  );
  return [...own, `ALTER TABLE ${name} REPLICA IDENTITY USING INDEX ${name}_key`];
}

/** As PostgreSQL names the index that a partition gets for its parent's. */
function indexOf(table: string, keys: string): string {
  return `${table}_${keys.replaceAll(', ', '_')}_idx`;
}

function randomTransaction(tables: readonly RandomTable[], pick: (count: number) => number): string {
  const statements = Array.from({ length: 1 + pick(6) }, () => {
    const table = tables[pick(tables.length)] as RandomTable;
    return randomStatement(table, pick);
  });
  // Some are taken back, some have a part that is.
  const end = pick(12) === 0 ? 'ROLLBACK' : 'COMMIT';
  const savepoint =
    pick(6) === 0 ? `SAVEPOINT s; ${randomStatement(tables[0] as RandomTable, pick)}; ROLLBACK TO s;` : '';
  return `BEGIN; ${statements.join('; ')}; ${savepoint} ${end}`;
}

function randomStatement({ name, keys, values }: RandomTable, pick: (count: number) => number): string {
  const value = (type: TypeChoice): string => (pick(8) === 0 ? 'NULL' : type.literal(pick));
  const key = keys.map((column) => column.type.literal(pick));
  const where = keys.map((column, index) => `${column.name} = ${key[index]}`).join(' AND ');
  const chosen = values.filter(() => pick(2) === 0);
  const set = chosen.map((column) => `${column.name} = ${value(column.type)}`);
  switch (pick(10)) {
    case 0:
      return `DELETE FROM ${name} WHERE ${where}`;
    case 1: {
      // A key that is taken stays: the statement must not fail.
      const moved = keys.map((column) => column.type.literal(pick));
      const taken = keys.map((column, index) => `o.${column.name} = ${moved[index]}`).join(' AND ');
      const to = keys.map((column, index) => `${column.name} = ${moved[index]}`).join(', ');
      return `UPDATE ${name} SET ${to} WHERE ${where} AND NOT EXISTS (SELECT FROM ${name} o WHERE ${taken})`;
    }
    case 2:
      return set.length === 0
        ? `UPDATE ${name} SET v_note = 'n${pick(9)}'`
        : `UPDATE ${name} SET ${set.join(', ')}`;
    case 3:
    case 4:
      return `UPDATE ${name} SET ${[...set, `v_note = 'm${pick(9)}'`].join(', ')} WHERE ${where}`;
    case 5:
      return pick(12) === 0 ? `TRUNCATE ${name}` : `DELETE FROM ${name} WHERE ${keys[0]?.name} > ${key[0]}`;
    default: {
      const columns = [...keys, ...values].map((column) => column.name).join(', ');
      const all = [...key, ...values.map((column) => value(column.type))].join(', ');
      return `INSERT INTO ${name} (${columns}) VALUES (${all}) ON CONFLICT DO NOTHING`;
    }
  }
}

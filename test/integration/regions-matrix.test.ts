import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counter } from '../../src/multi-leader/index.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const NAMES = ['eu', 'us', 'ap'];
/** Who writes first, and who writes later without having seen it. */
const PAIRS = NAMES.flatMap((first) =>
  NAMES.filter((one) => one !== first).map((later) => [first, later] as const),
);
/** Bit by region: which of the two others' writes reach it first. By hand all of them: 0,1,2,3,4,5,6,7. */
const ORDERS = (process.env['LOCKSTEP_MATRIX_ORDERS'] ?? '5').split(',').map(Number);

interface Kind {
  readonly name: string;
  /** With `$ID` in place of the case's number. Everywhere, before regions are cut apart. */
  readonly before?: string;
  readonly first: string;
  readonly later: string;
  /** By whoever wrote first, after both. */
  readonly last?: string;
  /** What all regions show in the end. */
  readonly look: string;
  readonly wanted: readonly string[];
}

const ROW = `INSERT INTO simple VALUES ($ID, 'a0', 'b0')`;
const LOOK = `SELECT concat_ws(' ', a, b) AS row FROM simple WHERE id = $ID`;
const KINDS: readonly Kind[] = [
  {
    name: 'insert/insert',
    first: `INSERT INTO simple VALUES ($ID, 'a1', 'b1')`,
    later: `INSERT INTO simple VALUES ($ID, 'a2', 'b2')`,
    look: LOOK,
    wanted: ['a2 b2'],
  },
  {
    name: 'update/update of one column',
    before: ROW,
    first: `UPDATE simple SET a = 'a1' WHERE id = $ID`,
    later: `UPDATE simple SET a = 'a2' WHERE id = $ID`,
    look: LOOK,
    wanted: ['a2 b0'],
  },
  {
    name: 'update/update of different columns, by row',
    before: ROW,
    first: `UPDATE simple SET a = 'a1' WHERE id = $ID`,
    later: `UPDATE simple SET b = 'b2' WHERE id = $ID`,
    look: LOOK,
    wanted: ['a0 b2'],
  },
  {
    name: 'update/update of different columns, merged',
    before: `INSERT INTO merged VALUES ($ID, 'a0', 'b0', 10)`,
    first: `UPDATE merged SET a = 'a1' WHERE id = $ID`,
    later: `UPDATE merged SET b = 'b2' WHERE id = $ID`,
    look: `SELECT concat_ws(' ', a, b) AS row FROM merged WHERE id = $ID`,
    wanted: ['a1 b2'],
  },
  {
    name: 'counter',
    before: `INSERT INTO merged VALUES ($ID, 'a0', 'b0', 10)`,
    first: 'UPDATE merged SET n = n + 5 WHERE id = $ID',
    later: 'UPDATE merged SET n = n - 2 WHERE id = $ID',
    look: 'SELECT n::text AS row FROM merged WHERE id = $ID',
    wanted: ['13'],
  },
  {
    name: 'update/delete',
    before: ROW,
    first: `UPDATE simple SET a = 'a1' WHERE id = $ID`,
    later: 'DELETE FROM simple WHERE id = $ID',
    look: LOOK,
    wanted: [],
  },
  {
    name: 'delete/update',
    before: ROW,
    first: 'DELETE FROM simple WHERE id = $ID',
    later: `UPDATE simple SET a = 'a2' WHERE id = $ID`,
    look: LOOK,
    wanted: ['a2 b0'],
  },
  {
    name: 'delete/insert',
    before: ROW,
    first: 'DELETE FROM simple WHERE id = $ID',
    later: `DELETE FROM simple WHERE id = $ID; INSERT INTO simple VALUES ($ID, 'a2', 'b2')`,
    look: LOOK,
    wanted: ['a2 b2'],
  },
  {
    name: 'delete/delete',
    before: ROW,
    first: 'DELETE FROM simple WHERE id = $ID',
    later: 'DELETE FROM simple WHERE id = $ID',
    look: LOOK,
    wanted: [],
  },
  {
    name: 'unique',
    first: `INSERT INTO people VALUES ($ID, 'mail $ID')`,
    later: `INSERT INTO people VALUES (-$ID, 'mail $ID')`,
    look: `SELECT CASE WHEN id > 0 THEN 'first' ELSE 'later' END AS row FROM people WHERE email = 'mail $ID'`,
    wanted: ['later'],
  },
  {
    name: 'key change',
    before: ROW,
    first: 'UPDATE simple SET id = -$ID WHERE id = $ID',
    later: `UPDATE simple SET a = 'a2' WHERE id = $ID`,
    look: `SELECT concat_ws(' ', sign(id), a, b) AS row FROM simple WHERE id IN ($ID, -$ID) ORDER BY id`,
    wanted: ['-1 a0 b0', '1 a2 b0'],
  },
  {
    name: 'truncate',
    before: `INSERT INTO cleared_$ID VALUES (1, 'before')`,
    first: `INSERT INTO cleared_$ID VALUES (2, 'first')`,
    later: 'TRUNCATE cleared_$ID',
    last: `INSERT INTO cleared_$ID VALUES (3, 'after')`,
    look: `SELECT concat_ws(' ', id, v) AS row FROM cleared_$ID ORDER BY id`,
    wanted: ['3 after'],
  },
  {
    name: 'foreign key',
    before: 'INSERT INTO customers VALUES ($ID)',
    first: 'INSERT INTO orders VALUES ($ID, $ID)',
    later: 'DELETE FROM customers WHERE id = $ID',
    look: `SELECT 'an order without its customer' AS row FROM orders
           WHERE id = $ID AND NOT EXISTS (SELECT FROM customers WHERE id = $ID)`,
    wanted: ['an order without its customer'],
  },
];

interface Case {
  readonly kind: Kind;
  readonly first: string;
  readonly later: string;
  readonly id: number;
}

const casesOf = (order: number): Case[] =>
  KINDS.flatMap((kind, number) =>
    PAIRS.map(([first, later], pair) => ({ kind, first, later, id: order * 1_000 + number * 10 + pair + 1 })),
  );
const filled = (text: string, { id }: Case): string => text.replaceAll('$ID', String(id));

const SCHEMA = `
CREATE TABLE simple (id int PRIMARY KEY, a text, b text);
CREATE TABLE merged (id int PRIMARY KEY, a text, b text, n int);
ALTER TABLE merged REPLICA IDENTITY FULL;
CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE);
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);
${ORDERS.flatMap(casesOf)
  .filter(({ kind }) => kind.name === 'truncate')
  .map((one) => filled('CREATE TABLE cleared_$ID (id int PRIMARY KEY, v text);', one))
  .join('\n')}`;

describe('each kind of conflict, whoever writes first', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, { tables: { merged: { n: counter() } } });
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const run = async (name: string, text: string | undefined, one: Case): Promise<void> => {
    if (text !== undefined) await servers.at(name).client.query(filled(text, one));
  };

  const setCut = (to: string, from: string, isCut: boolean): Promise<void> =>
    servers.at(to).region.setCut(from, isCut);

  /** Everything that was written before is there. */
  async function untilArrived(
    links: readonly { readonly from: string; readonly to: string }[],
  ): Promise<void> {
    const sinceMs = Date.now();
    await until(
      'the links have caught up',
      async () => {
        for (const { from, to } of links) {
          const { links: all } = await servers.at(to).region.status();
          const link = all.find((one) => one.from === from);
          if ((link?.promisedAtMs ?? 0) <= sinceMs) return false;
        }
        return true;
      },
      30_000,
    );
  }

  it.each(ORDERS)('ends the same everywhere (order of arrival %i)', async (order) => {
    const cases = casesOf(order);
    const others = (to: string): readonly string[] => NAMES.filter((name) => name !== to);
    const links = NAMES.flatMap((to) => others(to).map((from) => ({ from, to })));
    for (const one of cases) await run('eu', one.kind.before, one);
    await untilArrived(links);
    await Promise.all(links.map(({ from, to }) => setCut(to, from, true)));
    for (const one of cases) await run(one.first, one.kind.first, one);
    for (const one of cases) await run(one.later, one.kind.later, one);
    for (const one of cases) await run(one.first, one.kind.last, one);
    for (const turn of [0, 1]) {
      const healed = NAMES.map((to, region) => ({
        to,
        from: others(to)[((order >> region) & 1) ^ turn] ?? '',
      }));
      await Promise.all(healed.map(({ from, to }) => setCut(to, from, false)));
      await untilArrived(healed);
    }
    const comparison = await servers.compare();
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
    const { client } = servers.at('ap');
    const found: string[] = [];
    for (const one of cases) {
      const { rows } = await client.query<{ row: string }>(filled(one.kind.look, one));
      found.push(
        `${one.kind.name}, ${one.first} then ${one.later}: ${rows.map(({ row }) => row).join(', ')}`,
      );
    }
    expect(found).toEqual(
      cases.map(
        ({ kind, first, later }) => `${kind.name}, ${first} then ${later}: ${kind.wanted.join(', ')}`,
      ),
    );
  });
});

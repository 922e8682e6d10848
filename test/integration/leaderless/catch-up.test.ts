import pg from 'pg';
import { expect, it } from 'vitest';
import { cart, lww } from '../../../src/leaderless/index.ts';
import { until } from '../fixture.ts';
import { IndependentServers, insertRegisters } from './servers.ts';

const ROWS = 3_000;
const DIFFERING = 200;

/** Rows of all collections, and what they hold, as one text. */
async function digestOf(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ count: string; sum: string }>(
      `SELECT count(*), sum(hashtextextended(collection || key || field || coalesce(value, '') || at || writer, 0)::numeric) AS sum
       FROM lockstep_leaderless.registers`,
    );
    return `${rows[0]?.count} ${rows[0]?.sum}`;
  } finally {
    await client.end();
  }
}

it('a server that was away gets what it missed, also when nobody noted it, and only that', async () => {
  await using servers = await IndependentServers.start();
  const writer = await servers.quorum();
  const prefs = writer.collection('prefs', lww<string>());
  const put = async (count: number, value: string): Promise<void> => {
    for (let first = 0; first < count; first += 1_000)
      await Promise.all(
        Array.from({ length: Math.min(1_000, count - first) }, (_, index) =>
          prefs.put(`k${first + index}`, value, { level: 'all', deadlineMs: 20_000 }),
        ),
      );
  };
  await put(ROWS, 'before');
  await servers.kill('q3');
  await until('it is missed', () => writer.status().nodes[2]?.state === 'down');
  await Promise.all(
    Array.from({ length: DIFFERING }, (_, index) =>
      prefs.put(`k${index * 7}`, 'after', { deadlineMs: 20_000 }),
    ),
  );
  // Its notes are lost with it, on the servers too: what is left is what the servers know of themselves.
  await writer.close();
  for (const { url } of servers.servers.slice(0, 2)) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query('TRUNCATE lockstep_leaderless.hints');
    await client.end();
  }
  await servers.restart('q3');
  const other = await servers.quorum({ catchUpEveryMs: 200 });
  await until(
    'all three are the same',
    async () => new Set(await Promise.all(servers.servers.map(({ url }) => digestOf(url)))).size === 1,
    60_000,
  );
  expect(other.status().catchUp.brought).toBe(DIFFERING);
});

it('servers that hold the same are told by a digest, and only what differs is listed', async () => {
  await using servers = await IndependentServers.start();
  const q = await servers.quorum({ catchUpEveryMs: 3_600_000 });
  const prefs = q.collection('prefs', lww<string>());
  const keys = Array.from({ length: 300 }, (_, index) => `k${index}`);
  await Promise.all(keys.map((key) => prefs.put(key, 'value', { level: 'all' })));
  expect(await q.repair()).toEqual({ compared: 0, brought: 0 });
  // What two of them took while nobody could reach the third.
  for (const { url } of servers.servers.slice(0, 2)) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(
      insertRegisters(`INSERT INTO lockstep_leaderless.registers (collection, key, field, value, at, writer, expires_at_ms, change)
        SELECT 'prefs', 'new' || i, '', '"value"', i, CASE WHEN i % 2 = 0 THEN 'w' ELSE 'x' END, CASE WHEN i = 7 THEN 4102444800000 END,
          pg_current_xact_id() FROM generate_series(1, 40) i`),
    );
    await client.end();
  }
  expect(await q.repair()).toEqual({ compared: 40, brought: 40 });
  expect(new Set(await Promise.all(servers.servers.map(({ url }) => digestOf(url)))).size).toBe(1);
  expect(await q.repair()).toEqual({ compared: 0, brought: 0 });
  const client = new pg.Client({ connectionString: servers.named('q1').url });
  await client.connect();
  await client.query(`INSERT INTO lockstep_leaderless.collections VALUES ('carts', 'cart')`);
  await client.query(
    `INSERT INTO lockstep_leaderless.tallies (collection, key, item, actor, added, removed, born_at)
     SELECT 'carts', 'ada', '"' || i || '"', 'a', i, i % 2, i FROM generate_series(1, 40) i`,
  );
  await client.end();
  expect(await q.repair()).toEqual({ compared: 80, brought: 80 });
  expect(await q.repair()).toEqual({ compared: 0, brought: 0 });
  const { value } = await q.collection('carts', cart()).get('ada', { level: 'all' });
  expect(value.reduce((sum, { quantity }) => sum + quantity, 0)).toBe(800);
});

it('a change that got its number before others, and is committed after them, is not passed over', async () => {
  await using servers = await IndependentServers.start();
  const q = await servers.quorum({ catchUpEveryMs: 100 });
  const prefs = q.collection('prefs', lww<string>());
  await prefs.put('first', 'value', { level: 'all' });
  const late = new pg.Client({ connectionString: servers.named('q1').url });
  await late.connect();
  try {
    await late.query('BEGIN');
    await late.query(
      insertRegisters(`INSERT INTO lockstep_leaderless.registers (collection, key, field, value, at, writer, change)
        VALUES ('prefs', 'late', '', '"late"', 1, 'w', pg_current_xact_id())`),
    );
    // Changes with later numbers are seen meanwhile, as far as they may be.
    for (let index = 0; index < 20; index++) await prefs.put(`k${index}`, 'value', { level: 'all' });
    const { compared } = q.status().catchUp;
    await until('the other servers are looked at too', () => q.status().catchUp.compared > compared);
    await late.query('COMMIT');
  } finally {
    await late.end();
  }
  for (const { url } of servers.servers) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await until('it is there', async () => {
      const { rowCount } = await client.query(`SELECT FROM lockstep_leaderless.registers WHERE key = 'late'`);
      return rowCount === 1;
    });
    await client.end();
  }
});

import pg from 'pg';
import { expect, it } from 'vitest';
import { lww } from '../../../src/leaderless/index.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

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
      `INSERT INTO lockstep_leaderless.registers (collection, key, field, value, at, writer)
       VALUES ('prefs', 'late', '', '"late"', 1, 'w')`,
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

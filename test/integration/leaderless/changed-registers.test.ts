import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lww } from '../../../src/leaderless/index.ts';
import { trimStatement } from '../../../src/leaderless/nodes/catch-up-statements.ts';
import type { NodeReply } from '../../../src/leaderless/nodes/requests.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

const KEYS = 300;
const ROUNDS = 60;
/** Keys that change in a round. */
const CHANGED = 8;
const NAMES = `SELECT count(*)::int AS names, count(r.key)::int AS found, count(DISTINCT l.ctid)::int AS rows
  FROM lockstep_leaderless.changed_registers l CROSS JOIN unnest(l.collections, l.keys, l.fields) AS u(c, k, f)
  LEFT JOIN lockstep_leaderless.registers r ON r.collection = coalesce(u.c, l.collections[1]) AND r.key = u.k
    AND r.field = coalesce(u.f, l.fields[1]) AND r.change = l.change`;
/** What the tables of version 5 had in place of what version 6 brought. */
const BACK_TO_5 = `DROP TABLE lockstep_leaderless.changed_registers;
  ALTER TABLE lockstep_leaderless.registers DROP COLUMN ends_at_ms, DROP COLUMN passes_at,
    ALTER COLUMN change SET DEFAULT pg_current_xact_id();
  CREATE INDEX registers_change ON lockstep_leaderless.registers (change);
  CREATE INDEX registers_expiry ON lockstep_leaderless.registers (expires_at_ms) WHERE expires_at_ms IS NOT NULL AND value IS NOT NULL;
  CREATE INDEX registers_deleted ON lockstep_leaderless.registers (at) WHERE value IS NULL OR expires_at_ms IS NOT NULL;
  UPDATE lockstep_leaderless.node SET schema_version = 5`;
/** Version 6 had PostgreSQL compute two columns. */
const BACK_TO_6 = `ALTER TABLE lockstep_leaderless.registers DROP COLUMN ends_at_ms, DROP COLUMN passes_at;
  ALTER TABLE lockstep_leaderless.registers
    ADD COLUMN ends_at_ms bigint GENERATED ALWAYS AS (CASE WHEN value IS NOT NULL THEN expires_at_ms END) STORED,
    ADD COLUMN passes_at bigint GENERATED ALWAYS AS (CASE WHEN value IS NULL OR expires_at_ms IS NOT NULL THEN at END) STORED;
  CREATE INDEX registers_ends ON lockstep_leaderless.registers (ends_at_ms) WHERE ends_at_ms IS NOT NULL;
  CREATE INDEX registers_passes ON lockstep_leaderless.registers (passes_at) WHERE passes_at IS NOT NULL;
  UPDATE lockstep_leaderless.node SET schema_version = 6`;

let servers: IndependentServers;
let clients: readonly pg.Client[];

beforeAll(async () => {
  servers = await IndependentServers.start();
  clients = await Promise.all(
    servers.servers.map(async ({ url }) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
}, 60_000);

afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await servers[Symbol.asyncDispose]();
});

/** The first row of what the first server answers. */
async function first<T extends pg.QueryResultRow>(text: string, client = clients[0]): Promise<T> {
  const result = await client?.query<T>(text);
  const row = result?.rows[0];
  if (row === undefined) throw new Error('the server answered nothing');
  return row;
}

async function trim(client: pg.Client, from: number): Promise<Extract<NodeReply, { kind: 'trimmed' }>> {
  const { text, values, decode } = trimStatement({ kind: 'trim', from, limit: 1_000 });
  const { rows } = await client.query<unknown[]>({ text, values: [...values], rowMode: 'array' });
  const [reply] = decode(rows.map((row) => row.map((column) => (column === null ? null : Number(column)))));
  if (reply === undefined || !('kind' in reply) || reply.kind !== 'trimmed') throw new Error('no trimming');
  return reply;
}

it('values that change again stay on their page, are named by their last change alone, and are brought by it', async () => {
  const q = await servers.quorum({ catchUpEveryMs: 3_600_000 });
  const prefs = q.collection('prefs', lww<string>());
  const put = async (indexes: readonly number[], value: string): Promise<void> => {
    await Promise.all(indexes.map((index) => prefs.put(`k${index}`, value, { level: 'all' })));
  };
  await put([...Array(KEYS).keys()], 'first');
  // Few of a page at once: nothing is dead before it is committed.
  for (let round = 0; round < ROUNDS; round++)
    await put(
      Array.from({ length: CHANGED }, (_, index) => (index * 37 + round * 7) % KEYS),
      `round ${round}`,
    );
  await q.close();
  for (const client of clients) {
    const before = await first<{ names: number }>(NAMES, client);
    expect(before.names).toBe(KEYS + ROUNDS * CHANGED);
    const { names, kept, next, isWhole } = await trim(client, 0);
    expect({ names, kept, isWhole }).toEqual({ names: before.names, kept: KEYS, isWhole: true });
    expect(await first(NAMES, client)).toMatchObject({ names: KEYS, found: KEYS });
    expect(await trim(client, next)).toEqual({ kind: 'trimmed', names: 0, kept: 0, next, isWhole: true });
    expect(await trim(client, 0)).toMatchObject({ names: KEYS, kept: KEYS });
  }
  let counted = { updated: 0, onPage: 0 };
  await until('changes are counted', async () => {
    counted = await first<typeof counted>(
      `SELECT n_tup_upd::int AS updated, n_tup_hot_upd::int AS "onPage" FROM pg_stat_user_tables WHERE relname = 'registers'`,
    );
    return counted.updated >= ROUNDS * CHANGED;
  });
  // A page may be full.
  expect(counted.onPage).toBeGreaterThan(ROUNDS * CHANGED * 0.9);
  // Whoever was never brought anything gets all of it by what is left.
  await clients[2]?.query(
    'TRUNCATE lockstep_leaderless.registers; TRUNCATE lockstep_leaderless.changed_registers',
  );
  const other = await servers.quorum({ catchUpEveryMs: 3_600_000 });
  expect((await other.repair()).brought).toBe(KEYS);
  const sum = `SELECT count(*)::int AS count, sum(hashtextextended(key || value || at, 0)::numeric)::text AS sum FROM lockstep_leaderless.registers`;
  expect(await first(sum, clients[2])).toEqual(await first(sum));
});

it('what changed again is named no more before servers are looked at', async () => {
  const writer = await servers.quorum({ catchUpEveryMs: 3_600_000 });
  const prefs = writer.collection('again', lww<number>());
  for (let round = 0; round < ROUNDS; round++) await prefs.put('key', round, { level: 'all' });
  await writer.close();
  expect((await first<{ names: number; found: number }>(NAMES)).names).toBeGreaterThanOrEqual(ROUNDS);
  // Sooner than a process takes them out for the sake of space alone.
  await servers.quorum({ catchUpEveryMs: 200 });
  await until(
    'every server names what it has alone',
    async () => {
      const counts = await Promise.all(
        clients.map((client) => first<{ names: number; found: number }>(NAMES, client)),
      );
      return counts.every(({ names, found }) => names === found);
    },
    14_000,
  );
});

it('tables of the version before are brought on, and their registers are found by their change', async () => {
  const before = await servers.quorum();
  const prefs = before.collection('older', lww<string>(), { ttl: '1h' });
  await prefs.put('key', 'value', { level: 'all' });
  await before.collection('older', lww<string>()).delete('gone', { level: 'all' });
  await before.close();
  for (const client of clients) await client.query(BACK_TO_5);
  await clients[1]?.query(
    `INSERT INTO lockstep_leaderless.registers (collection, key, field, value, at, writer)
     VALUES ('older', 'alone', '', '"one server has it"', 4096, 'w')`,
  );
  const q = await servers.quorum();
  expect((await q.collection('older', lww<string>()).get('key')).value).toBe('value');
  await q.repair();
  for (const client of clients) {
    expect(await first(`SELECT schema_version FROM lockstep_leaderless.node`, client)).toEqual({
      schema_version: 7,
    });
    const { names, found } = await first<{ names: number; found: number }>(NAMES, client);
    expect(found).toBe(names);
    const rows = await first<{ count: number }>(
      'SELECT count(*)::int AS count FROM lockstep_leaderless.registers',
      client,
    );
    expect(found).toBe(rows.count);
    expect(
      await first(
        `SELECT count(ends_at_ms)::int AS ends, count(passes_at)::int AS passes, count(*) FILTER (WHERE key = 'alone')::int AS alone
         FROM lockstep_leaderless.registers WHERE collection = 'older'`,
        client,
      ),
    ).toEqual({ ends: 1, passes: 2, alone: 1 });
  }
});

it('tables of version 6 are brought on: what indexes hold of a register is written with it from then on', async () => {
  const before = await servers.quorum();
  const lives = before.collection('lives', lww<string>());
  await lives.put('stays', 'value', { level: 'all' });
  await lives.put('ends', 'value', { level: 'all', ttl: '1h' });
  await lives.put('gone', 'value', { level: 'all' });
  await lives.delete('gone', { level: 'all' });
  await before.close();
  for (const client of clients) await client.query(BACK_TO_6);
  const held = async (client: pg.Client): Promise<string> => {
    const { rows } = await client.query<{ key: string; ends: boolean; passes: boolean }>(
      `SELECT key, ends_at_ms IS NOT DISTINCT FROM expires_at_ms AND value IS NOT NULL AND ends_at_ms IS NOT NULL AS ends,
         passes_at IS NOT DISTINCT FROM at AS passes FROM lockstep_leaderless.registers WHERE collection = 'lives' ORDER BY key`,
    );
    return rows
      .map(({ key, ends, passes }) => `${key} ${ends ? 'ends' : '-'} ${passes ? 'passes' : '-'}`)
      .join(', ');
  };
  const q = await servers.quorum();
  const after = q.collection('lives', lww<string>());
  expect((await after.get('ends')).value).toBe('value');
  for (const client of clients) expect(await held(client)).toBe('ends ends passes, gone - passes, stays - -');
  // Alone and beside others, since values that live for ever have a way of their own.
  await Promise.all([
    after.put('stays', 'other', { level: 'all', ttl: '1h' }),
    after.put('gone', 'back', { level: 'all' }),
  ]);
  await after.put('ends', 'for ever', { level: 'all' });
  for (const client of clients) expect(await held(client)).toBe('ends - -, gone - -, stays ends passes');
  await after.delete('stays', { level: 'all' });
  for (const client of clients) expect(await held(client)).toBe('ends - -, gone - -, stays - passes');
});

// `npm run catch-up -- --keys 1000000 --differing 1000`: how long, and for how many bytes, a server that was away is brought what it missed.
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { quorum } from '../../../src/leaderless/index.ts';
import { IndependentServers, insertRegisters } from '../../integration/leaderless/servers.ts';
import { Partition } from './partition.ts';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    differing: { type: 'string', default: '1000' },
    json: { type: 'boolean', default: false },
  },
});
const keys = Number(values.keys);
const differing = Number(values.differing);

await using servers = await IndependentServers.start();
await (await servers.quorum()).close();
const clients = await Promise.all(
  servers.servers.map(async ({ url }) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    return client;
  }),
);
const SCHEMA = 'lockstep_leaderless';
// One time for all servers: they hold the same writes.
const filledAtMs = Date.now();

/** The same rows at each of these servers, as writes that all of them got. */
async function fill(at: readonly pg.Client[], count: number, step: number, value: string): Promise<void> {
  await Promise.all(
    at.map(async (client) => {
      await client.query(`INSERT INTO ${SCHEMA}.collections VALUES ('prefs', 'lww') ON CONFLICT DO NOTHING`);
      await client.query(
        insertRegisters(`INSERT INTO ${SCHEMA}.registers AS r (collection, key, field, value, at, writer, change)
         SELECT 'prefs', 'key-' || (i * $2::int), '', to_jsonb($3::text || repeat('x', 100))::text,
           $4::bigint * 2048 + CASE WHEN $3 = 'after' THEN 1 ELSE 0 END, 'w', pg_current_xact_id()
         FROM generate_series(1, $1::int) i
         ON CONFLICT (collection, key, field) DO UPDATE SET value = excluded.value, at = excluded.at, change = excluded.change`),
        [count, step, value, filledAtMs],
      );
      await client.query(`VACUUM ANALYZE ${SCHEMA}.registers`);
    }),
  );
}

const digest = async (client: pg.Client): Promise<string> => {
  const { rows } = await client.query<{ text: string }>(
    `SELECT count(*) || ' ' || sum(hashtextextended(key || value || at || writer, 0)::numeric) AS text FROM ${SCHEMA}.registers`,
  );
  return rows[0]?.text ?? '';
};

await fill(clients, keys, 1, 'before');
// All have seen all of it, as after a while of work.
const ids = await Promise.all(
  clients.map(async (client) => {
    const { rows } = await client.query<{ id: string; next: string }>(
      'SELECT system_identifier::text AS id, pg_snapshot_xmin(pg_current_snapshot())::text AS next FROM pg_control_system()',
    );
    return rows[0] ?? { id: '', next: '0' };
  }),
);
for (const [index, client] of clients.entries())
  for (const { id, next } of ids)
    for (const store of ['registers', 'tallies'])
      await client.query(
        `INSERT INTO ${SCHEMA}.peers (source, store, seen, own) VALUES ($1, $2, $3::xid8, $4::xid8)
         ON CONFLICT (source, store) DO UPDATE SET seen = excluded.seen, own = excluded.own`,
        [id, store, next, ids[index]?.next],
      );
await fill(clients.slice(0, 2), differing, Math.max(1, Math.floor(keys / differing)), 'after');
const { rows: sizes } = await (clients[0] as pg.Client).query<{ bytes: string }>(
  `SELECT sum(length(collection || key || field || value || at || writer)) AS bytes FROM ${SCHEMA}.registers WHERE value LIKE '"after%'`,
);
const differingBytes = Number(sizes[0]?.bytes);

await using stack = new AsyncDisposableStack();
const links = await Promise.all(servers.servers.map(({ url }) => Partition.before(url)));
for (const link of links) stack.use(link);
const opened = await quorum({
  nodes: links.map(({ url }, index) => ({ name: `q${index + 1}`, url })),
  catchUpEveryMs: 3_600_000,
});
stack.defer(() => opened.close());
while (opened.status().nodes.some(({ state }) => state !== 'up')) await delay(20);
const before = links.reduce((sum, { bytes }) => sum + bytes, 0);
const startedAtMs = performance.now();
const repaired = await opened.repair();
const tookMs = performance.now() - startedAtMs;
const movedBytes = links.reduce((sum, { bytes }) => sum + bytes, 0) - before;
const isEqual = new Set(await Promise.all(clients.map(digest))).size === 1;
for (const client of clients) await client.end();
const result = { keys, differing, ...repaired, tookMs, movedBytes, differingBytes, isEqual };
process.stdout.write(
  values.json
    ? `${JSON.stringify(result, null, 2)}\n`
    : `${keys} keys, ${differing} differing: ${isEqual ? 'equal' : 'NOT EQUAL'} after ${tookMs.toFixed(0)} ms; ${repaired.compared} compared, ${repaired.brought} brought; ${movedBytes} bytes moved, ${(movedBytes / differingBytes).toFixed(1)} times the differing rows\n`,
);
if (!isEqual) process.exitCode = 1;

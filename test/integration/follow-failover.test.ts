import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseTables } from '../../src/logical/tables.ts';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { SUPERUSER } from '../../src/postgres/settings.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster, TestNode } from '../../src/testing/cluster.ts';
import { createUrlClient } from '../../src/wire/url-client.ts';
import { until } from './fixture.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const PATIENCE_MS = 180_000;
const [newest] = builds.slice(-1);
if (newest === undefined) throw new Error('no PostgreSQL to test with');
// Before 17 no PostgreSQL keeps a logical slot on followers; there the follow refills.
const itWithSlots = newest.major >= 17 ? it : it.skip;

async function urlOf(cluster: TestCluster, nodes: readonly TestNode[]): Promise<string> {
  const config = JSON.parse(await readFile(join(cluster.folder, 'cluster.json'), 'utf8'));
  const hosts = nodes.map(({ host, port }) => `${host}:${port}`).join(',');
  return `postgresql://${SUPERUSER}:${config.secrets.superuser}@${hosts}/${config.database}`;
}

/** `name synced`, `name temporary` or `name own` for each logical slot of a node. */
async function slotsOf(cluster: TestCluster, node: TestNode): Promise<string> {
  const client = createUrlClient({ connectionString: await urlOf(cluster, [node]) });
  try {
    await client.connect();
    const { rows } = await client.query(
      `SELECT coalesce(string_agg(slot_name || CASE WHEN temporary THEN ' temporary' WHEN synced THEN ' synced' ELSE ' own' END, ', '
                ORDER BY slot_name), '') AS slots FROM pg_replication_slots WHERE slot_type = 'logical'`,
    );
    return rows[0].slots;
  } finally {
    await client.end().catch(() => undefined);
  }
}

itWithSlots(
  'a follow goes on from the slot of the new leader, and the old one gives up its own',
  async () => {
    await using cluster = await startTestCluster({
      postgres: 'embedded',
      startDeadlineMs: PATIENCE_MS,
    });
    await using servers = await LogicalServers.create(newest);
    const target = await servers.start('target');
    const from = await urlOf(cluster, cluster.nodes);
    const write = async (sql: string): Promise<void> => {
      const client = await connectToLeader(from, { applicationName: 'test' });
      try {
        await client.query(sql);
      } finally {
        await client.end();
      }
    };
    await write('CREATE TABLE public.kept (id int PRIMARY KEY); INSERT INTO public.kept VALUES (1)');
    await using running = new RunningFollow({
      from,
      to: target.url,
      name: 'kept',
      tables: parseTables('kept'),
      createsTables: true,
    });
    const areAt = (rows: number): Promise<boolean> =>
      until(
        `${rows} rows are there`,
        async () => (await readRows(target.client, 'kept').catch(() => [])).length === rows,
        PATIENCE_MS,
      );
    await areAt(1);
    const first = await cluster.leader();
    const followers = cluster.nodes.filter(({ name }) => name !== first);
    let rows = 1;
    await until(
      'every follower has the slot',
      async () => {
        // A slot gets there once the leader's has moved on, and a log of what runs lets it.
        await write(`INSERT INTO public.kept VALUES (${++rows}); SELECT pg_log_standby_snapshot()`);
        const slots = await Promise.all(followers.map((node) => slotsOf(cluster, node)));
        return slots.every((each) => each === 'lockstep_follow_kept synced');
      },
      PATIENCE_MS,
    );
    await areAt(rows);
    await cluster.kill(first);
    await until(
      'another node leads',
      async () => ![null, first].includes((await cluster.status()).leader),
      PATIENCE_MS,
    );
    await write(`INSERT INTO public.kept VALUES (${++rows})`);
    await areAt(rows);
    expect(running.events.filter((each) => each.includes('copied again'))).toEqual([]);
    expect(running.failure).toBeNull();
    const leader = await cluster.leader();
    await cluster.start(first);
    await until(
      'the old leader has only what it gets from the new one',
      async () => {
        await write(`INSERT INTO public.kept VALUES (${++rows}); SELECT pg_log_standby_snapshot()`);
        const [old, now] = [first, leader].map((name) => cluster.nodes.find((node) => node.name === name));
        if (old === undefined || now === undefined) return false;
        return (
          (await slotsOf(cluster, old)) === 'lockstep_follow2_kept synced' &&
          (await slotsOf(cluster, now)) === 'lockstep_follow2_kept own'
        );
      },
      PATIENCE_MS,
    );
    await areAt(rows);
  },
  4 * PATIENCE_MS,
);

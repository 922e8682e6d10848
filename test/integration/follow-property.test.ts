import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseTables } from '../../src/logical/tables.ts';
import { until } from './fixture.ts';
import { RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';
import { randomCase } from './random-schema.ts';

/** More by hand: `FOLLOW_SEEDS=200 npx vitest run --project integration test/integration/follow-property.test.ts`. */
const SEEDS = Number(process.env['FOLLOW_SEEDS'] ?? 4);
const FIRST_SEED = Number(process.env['FOLLOW_FIRST_SEED'] ?? 1);
const seeds = Array.from({ length: SEEDS }, (_, index) => FIRST_SEED + index);

describe.each(builds)('random tables with random changes on PostgreSQL $version', (binaries) => {
  let servers: LogicalServers;
  let source: Awaited<ReturnType<LogicalServers['start']>>;
  let target: Awaited<ReturnType<LogicalServers['start']>>;
  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
    for (const { client } of [source, target]) await client.query(randomCase(1, 'types', true).types);
  });
  afterAll(async () => servers[Symbol.asyncDispose]());

  it.each(seeds)('end equal (seed %i)', async (seed) => {
    // Every second schema has types that travel only as text.
    const name = `s${seed}`;
    const { source: there, target: here, tables, changes } = randomCase(seed, name, seed % 2 === 0);
    await source.client.query(there);
    await target.client.query(here);
    const half = Math.floor(changes.length / 3);
    for (const change of changes.slice(0, half)) await source.client.query(change);
    await using running = new RunningFollow({
      from: source.url,
      to: target.url,
      name,
      tables: parseTables(tables.join(',')),
    });
    await running.caughtUp(source.client);
    for (const change of changes.slice(half)) await source.client.query(change);
    await running.caughtUp(source.client);
    for (const table of tables) {
      const columns = (
        await source.client.query<{ list: string }>(
          `SELECT string_agg(attname, ', ' ORDER BY attname) AS list FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0`,
          [table],
        )
      ).rows[0]?.list;
      const sql = `SELECT ROW(${columns})::text AS line FROM ${table} ORDER BY 1`;
      const [a, b] = [await source.client.query(sql), await target.client.query(sql)];
      expect(b.rows, `${table}, seed ${seed}`).toEqual(a.rows);
    }
    expect(running.events.join('; '), `seed ${seed}`).toBe('');
    expect(running.follow.status).toMatchObject({ missingRows: 0, quarantined: 0 });
    await running.stop();
    // The walsender lets go of it a moment later.
    await until('the slot is dropped', async () => {
      await source.client.query(`SELECT pg_drop_replication_slot('lockstep_follow_${name}')`);
      return true;
    });
  });
});

import { expect, it } from 'vitest';
import { parseTables } from '../../src/logical/tables.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const WRITERS = 4;
const UPDATES_EACH = 1_500;

/** A million by hand: `npm run bench -- follow --only hot-rows`. */
it.each(builds)('skips no update of rows that all write, on PostgreSQL $version', async (binaries) => {
  await using servers = await LogicalServers.create(binaries);
  const [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
  for (const { client } of [source, target])
    await client.query('CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL, note text)');
  await source.client.query(`INSERT INTO hot SELECT g, 0, repeat('x', g) FROM generate_series(1, 100) g`);
  await using running = new RunningFollow({
    from: source.url,
    to: target.url,
    name: 'hot',
    tables: parseTables('hot'),
  });
  await running.caughtUp(source.client);
  const writers = await Promise.all(Array.from({ length: WRITERS }, () => source.server.connect()));
  try {
    await Promise.all(
      writers.map((writer) =>
        writer.query(`DO $$ DECLARE hot_id int; BEGIN FOR i IN 1..${UPDATES_EACH} LOOP
          hot_id := 1 + floor(random() * 100); UPDATE hot SET n = n + 1 WHERE id = hot_id; COMMIT; END LOOP; END $$`),
      ),
    );
  } finally {
    await Promise.all(writers.map((writer) => writer.end()));
  }
  await running.caughtUp(source.client);
  expect(running.follow.status).toMatchObject({
    changes: WRITERS * UPDATES_EACH,
    missingRows: 0,
    quarantined: 0,
  });
  expect(await readRows(target.client, 'hot')).toEqual(await readRows(source.client, 'hot'));
});

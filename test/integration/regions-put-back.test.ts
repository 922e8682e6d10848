import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runTool } from '../chaos/hosts/command.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const NAMES = ['eu', 'us', 'ap'];
const ALL = `SELECT coalesce(string_agg(v, ' ' ORDER BY v), '') AS all FROM notes`;

/** Nothing may be lost in silence: what goes on as if nothing were must be stopped, and the others go on. */
describe('a region that was put back to an earlier state', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, 'CREATE TABLE notes (v text PRIMARY KEY)');
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const write = (name: string, v: string): Promise<unknown> =>
    servers.at(name).client.query('INSERT INTO notes VALUES ($1)', [v]);
  const untilIn = (names: readonly string[], wanted: string): Promise<true> =>
    until(`${names.join(', ')} have ${wanted}`, async () => {
      const found = await Promise.all(names.map((name) => servers.at(name).client.query(ALL)));
      return found.every(({ rows }) => rows[0]?.all === wanted);
    });

  it('is told by both sides of its links, and the others go on', async () => {
    await write('eu', '1-eu');
    await write('us', '1-us');
    await untilIn(NAMES, '1-eu 1-us');
    // A copy of the disk, which has the slots too.
    const { region, server, dataDir } = servers.at('eu');
    const copy = `${dataDir}.copy`;
    await region.stop();
    await server.stop('fast');
    await runTool('cp', '-a', dataDir, copy);
    await server.startAlone();
    const { region: again } = await servers.startAnew('eu');
    await write('eu', '2-eu');
    await write('us', '2-us');
    await untilIn(NAMES, '1-eu 1-us 2-eu 2-us');
    await again.stop();
    await server.stop('fast');
    await rm(dataDir, { recursive: true });
    await runTool('cp', '-a', copy, dataDir);
    await server.startAlone();
    await servers.startAnew('eu');
    await servers.untilLink(
      'eu',
      'us',
      ({ detail }) => detail?.includes('the log of eu ends before') === true,
    );
    await servers.untilLink(
      'us',
      'eu',
      ({ detail }) => detail?.includes('the data of eu were put back') === true,
    );
    await write('us', '3-us');
    await untilIn(['us', 'ap'], '1-eu 1-us 2-eu 2-us 3-us');
    await untilIn(['eu'], '1-eu 1-us');
  });

  it('does not start where its slots are gone, as after a backup was restored', async () => {
    const { region, client } = servers.at('ap');
    await region.stop();
    // The other region's link reads from it.
    await servers.at('us').region.setCut('ap', true);
    await until('the slot can be dropped', async () => {
      await client.query(`SELECT pg_drop_replication_slot('lockstep_us')`);
      return true;
    });
    await servers.at('us').region.setCut('ap', false);
    await expect(servers.startAnew('ap')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('replication slot lockstep_us of region ap is gone'),
    });
    await servers.untilLink(
      'ap',
      'us',
      ({ detail }) => detail?.includes('ap has no slot for us any more') === true,
    );
  });
});

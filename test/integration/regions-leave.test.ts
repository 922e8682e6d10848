import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createToken, readRegions, writeRegions } from '../../src/cli/regions/regions-folder.ts';
import { removeRegion } from '../../src/cli/regions/remove-command.ts';
import { serveRegion } from '../../src/multi-leader/api.ts';
import { createRegionSeal } from '../../src/multi-leader/seal.ts';
import { freePort, until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const NAMES = ['eu', 'us', 'ap'];
const SCHEMA = 'CREATE TABLE notes (v text PRIMARY KEY); CREATE TABLE gone (id int PRIMARY KEY)';

describe('a region that leaves', () => {
  let servers: RegionServers;
  let state: string;
  const apis: { close(): Promise<void> }[] = [];
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA);
    state = await mkdtemp(join(tmpdir(), 'lockstep-leaving-'));
    const token = createToken();
    const regions = await Promise.all(
      servers.regions.map(async ({ name, url }) => ({
        name,
        url,
        host: '127.0.0.1',
        apiPort: await freePort(),
      })),
    );
    await writeRegions(state, { definition: null, token, regions });
    for (const { name, host, apiPort } of regions) {
      const seal = createRegionSeal({ region: name, regions: NAMES, token });
      apis.push(await serveRegion({ api: servers.at(name).region, host, port: apiPort, seal }));
    }
  });
  afterAll(async () => {
    await Promise.all(apis.map((api) => api.close()));
    await servers?.[Symbol.asyncDispose]();
    await rm(state, { recursive: true, force: true });
  });

  it('stays while the others lack what it wrote, and is not waited for once it has left', async () => {
    await servers.at('us').region.setCut('ap', true);
    await servers.at('ap').client.query(`INSERT INTO notes VALUES ('last words')`);
    await expect(removeRegion(state, 'ap', 1_000)).rejects.toMatchObject({
      message: expect.stringContaining('us does not have yet what ap wrote'),
    });
    expect((await readRegions(state)).left).toBeUndefined();
    await servers.at('us').region.setCut('ap', false);
    expect(await removeRegion(state, 'ap', 30_000)).toEqual(['eu', 'us']);
    expect((await readRegions(state)).left).toEqual(['ap']);
    // Its process outlives the restarts of the others, and holds its slots over them.
    const ap = await servers.leave('ap');
    try {
      expect(await slotsOf('eu')).toContain('lockstep_ap');
    } finally {
      await ap.stop();
    }
    await expect(removeRegion(state, 'ap', 1_000)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    // Nothing is forgotten while a region that counts says nothing.
    await servers.at('eu').client.query('INSERT INTO gone VALUES (1); DELETE FROM gone');
    await servers.at('us').client.query(`INSERT INTO notes VALUES ('goes on')`);
    await until('the others agree, and forget', async () => {
      const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
      return all.every(
        ({ tombstones, settledAgoMs, links }) =>
          tombstones === 0 && settledAgoMs !== null && links.length === 1,
      );
    });
    expect((await servers.compare()).isEqual).toBe(true);
    const { rows } = await servers.at('eu').client.query('SELECT v FROM notes ORDER BY v');
    expect(rows.map(({ v }) => v)).toEqual(['goes on', 'last words']);
    await until('its slots are gone', async () =>
      [...(await slotsOf('eu')), ...(await slotsOf('us'))].every((slot) => slot !== 'lockstep_ap'),
    );
    expect(await slotsOf('eu')).toEqual(['lockstep_own', 'lockstep_us']);
  });

  async function slotsOf(name: string): Promise<string[]> {
    const { rows } = await servers
      .at(name)
      .client.query<{ slot: string }>(`SELECT slot_name AS slot FROM pg_replication_slots ORDER BY 1`);
    return rows.map(({ slot }) => slot);
  }
});

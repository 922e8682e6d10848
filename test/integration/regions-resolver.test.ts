import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createToken, writeRegions } from '../../src/cli/regions/regions-folder.ts';
import { renderReplay, replayConflicts } from '../../src/cli/regions/replay-command.ts';
import { Region } from '../../src/multi-leader/region.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';
import definition from './regions-resolver-definition.ts';

const BROKEN = ['throwing', 'endless', 'chance', 'refused'] as const;
const SCHEMA = `
CREATE TABLE carts (id int PRIMARY KEY, items text[] NOT NULL, note text, at timestamptz NOT NULL DEFAULT now(),
  views int NOT NULL DEFAULT 0);
ALTER TABLE carts REPLICA IDENTITY FULL;
${BROKEN.map((table) => `CREATE TABLE ${table} (id int PRIMARY KEY, v varchar(10)); ALTER TABLE ${table} REPLICA IDENTITY FULL;`).join('\n')}
`;
const NAMES = ['eu', 'us', 'ap'];
const PATH = fileURLToPath(new URL('./regions-resolver-definition.ts', import.meta.url));
const CHANGED = fileURLToPath(new URL('./regions-changed-definition.ts', import.meta.url));

describe('a resolver', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, definition, { definitionPath: PATH });
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const untilAll = (sql: string, wanted: unknown): Promise<true> =>
    until(
      `all answer ${JSON.stringify(wanted)} to ${sql}`,
      async () => {
        const found = await Promise.all(servers.regions.map(({ client }) => client.query(sql)));
        return found.every(({ rows }) => JSON.stringify(rows) === JSON.stringify(wanted));
      },
      90_000,
    );

  it('decides between three carts, once, and counters stay exact', async () => {
    const { client } = servers.at('eu');
    await client.query(
      `INSERT INTO carts (id, items, note) SELECT g, '{}', 'new' FROM generate_series(1, 4) g`,
    );
    const count = 'SELECT count(*)::int AS n FROM carts';
    await untilAll(count, [{ n: 4 }]);
    await servers.setAllCut(true);
    for (const [index, name] of NAMES.entries())
      await servers
        .at(name)
        .client.query(`UPDATE carts SET items = items || $1::text, note = $1, views = views + $2`, [
          name,
          index + 1,
        ]);
    await servers.setAllCut(false);
    const all = [1, 2, 3, 4].map((id) => ({ id, items: ['ap', 'eu', 'us'], note: 'eu', views: 6 }));
    await untilAll('SELECT id, items, note, views FROM carts ORDER BY id', all);
    expect((await servers.compare()).differences).toEqual([]);
    // The same log everywhere, with what was asked, whichever region was the referee.
    // More than twice where it was settled bit by bit.
    await untilAll(
      `SELECT key FROM lockstep_regions.conflicts WHERE decision = 'resolved' AND kind = 'update/update'
       GROUP BY 1 HAVING count(*) >= 2 ORDER BY 1`,
      [1, 2, 3, 4].map((id) => ({ key: String(id) })),
    );
  });

  it('may bring a deleted row back, and may leave a conflict to a person', async () => {
    await servers.setAllCut(true);
    await servers.at('eu').client.query(`UPDATE carts SET items = '{kept}' WHERE id = 1`);
    await servers.at('us').client.query('DELETE FROM carts WHERE id = 1');
    await servers.at('eu').client.query(`UPDATE carts SET note = 'ask', items = '{one}' WHERE id = 2`);
    await servers.at('ap').client.query(`UPDATE carts SET note = 'later', items = '{other}' WHERE id = 2`);
    await servers.setAllCut(false);
    await untilAll('SELECT items FROM carts WHERE id = 1', [{ items: ['kept'] }]);
    await untilAll(
      `SELECT before_row->>'note' AS a, written_row->>'note' AS b, reason FROM lockstep_regions.conflicts
      WHERE decision = 'parked' AND key = '2'`,
      [{ a: 'ask', b: 'later', reason: 'somebody has to be asked' }],
    );
    await untilAll('SELECT note, items FROM carts WHERE id = 2', [{ note: 'later', items: ['other'] }]);
  });

  it('that fails has its conflicts parked with both rows, and all else goes on', async () => {
    for (const table of BROKEN) await servers.at('eu').client.query(`INSERT INTO ${table} VALUES (1, 'new')`);
    await untilAll('SELECT count(*)::int AS n FROM refused', [{ n: 1 }]);
    await servers.setAllCut(true);
    for (const name of NAMES)
      for (const table of BROKEN) await servers.at(name).client.query(`UPDATE ${table} SET v = '${name}'`);
    await servers.at('ap').client.query(`UPDATE carts SET note = 'on' WHERE id = 3`);
    await servers.setAllCut(false);
    await untilAll('SELECT note FROM carts WHERE id = 3', [{ note: 'on' }]);
    for (const [table, reason] of [
      ['throwing', 'no idea'],
      ['endless', 'it did not return within 2 s'],
      ['chance', 'it uses Math.random, which gives another answer each time'],
    ]) {
      const parked = `SELECT array_agg(DISTINCT reason) AS reasons, count(*)::int AS n,
          (SELECT v FROM ${table}) AS v FROM lockstep_regions.conflicts
        WHERE table_name = 'public.${table}' AND decision = 'parked'
          AND (before_row->>'v', written_row->>'v') IN (('eu', 'us'), ('us', 'ap'))`;
      await untilAll(parked, [{ reasons: [reason], n: 2, v: 'ap' }]);
    }
    await untilAll(
      `SELECT bool_and(reason LIKE 'what it decided cannot be written: value too long%') AS said
       FROM lockstep_regions.conflicts WHERE table_name = 'public.refused' AND decision = 'parked'`,
      [{ said: true }],
    );
    const told = await until('a region tells of it', async () => {
      const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
      const said = all.map(({ problem }) => problem ?? '').join('\n');
      return BROKEN.every((table) => said.includes(`public.${table}`)) ? said : null;
    });
    expect(told).toContain('its conflicts are parked');
    expect((await servers.compare()).differences).toEqual([]);
  });

  it('is tried on the logged conflicts, and nothing is written', async () => {
    const state = await mkdtemp(join(tmpdir(), 'lockstep-replay-'));
    try {
      const places = servers.regions.map(({ name, url }) => ({ name, url, host: '127.0.0.1', apiPort: 1 }));
      await writeRegions(state, { definition: PATH, token: createToken(), regions: places });
      const where = { state, region: 'us', table: 'carts', limit: 1_000 };
      const same = await replayConflicts({ ...where, definition: null });
      expect(same.conflicts.filter(({ isSame, decision }) => !isSame && decision !== 'parked')).toEqual([]);
      expect(same.conflicts.length).toBeGreaterThanOrEqual(10);
      const { client } = servers.at('us');
      const before = await client.query('SELECT * FROM carts ORDER BY id');
      const changed = await replayConflicts({ ...where, definition: CHANGED });
      const otherwise = changed.conflicts.filter(({ isSame }) => !isSame);
      expect(otherwise.length).toBeGreaterThanOrEqual(4);
      expect(renderReplay(changed)).toContain('would be');
      expect((await client.query('SELECT * FROM carts ORDER BY id')).rows).toEqual(before.rows);
      const broken = await replayConflicts({ ...where, table: 'throwing', definition: null });
      expect(broken.conflicts.every(({ isFault, reason }) => isFault && reason === 'no idea')).toBe(true);
    } finally {
      await rm(state, { recursive: true, force: true });
    }
  });

  it('that is not the same in two regions stops what is between them, with a sentence', async () => {
    const { region, client } = servers.at('eu');
    const regions = servers.regions.map(({ name, url }) => ({ name, url }));
    await region.stop();
    const tables = { ...definition.tables, chance: {} };
    const other = new Region({
      name: 'eu',
      regions,
      definition: { ...definition, tables },
      definitionPath: PATH,
    });
    await other.start();
    try {
      // A link asks when it connects.
      await servers.at('us').region.setCut('eu', true);
      await servers.at('us').region.setCut('eu', false);
      await servers.untilLink(
        'eu',
        'us',
        ({ detail }) => detail?.includes('with the same definition') === true,
      );
      await client.query(`UPDATE carts SET note = 'waits' WHERE id = 4`);
    } finally {
      await other.stop();
    }
    await servers.startAnew('eu');
    await servers.untilLink('eu', 'us', ({ state }) => state === 'streaming');
    await untilAll('SELECT note FROM carts WHERE id = 4', [{ note: 'waits' }]);
  });
});

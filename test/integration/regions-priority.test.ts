import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineRegions, lastWriteWins, regionPriority } from '../../src/multi-leader/index.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA = `
CREATE TABLE accounts (id int PRIMARY KEY, owner text, note text);
ALTER TABLE accounts REPLICA IDENTITY FULL;
`;
const NAMES = ['eu', 'us', 'ap'];
const definition = defineRegions({
  tables: { accounts: { '*': regionPriority(NAMES), note: lastWriteWins() } },
});
const ROWS = `SELECT string_agg(concat_ws(':', id, owner, note), ' ' ORDER BY id) AS all FROM accounts`;

describe('the priority of regions', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, definition);
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const untilAll = (wanted: string): Promise<true> =>
    until(
      `all have ${wanted}`,
      async () => {
        const found = await Promise.all(servers.regions.map(({ client }) => client.query(ROWS)));
        return found.every(({ rows }) => rows[0]?.all === wanted);
      },
      60_000,
    );

  it('decides between writes that had not seen each other, and not between others', async () => {
    await servers
      .at('ap')
      .client.query(`INSERT INTO accounts SELECT g, 'x', 'y' FROM generate_series(1, 4) g`);
    await untilAll('1:x:y 2:x:y 3:x:y 4:x:y');
    await servers.setAllCut(true);
    for (const name of NAMES)
      await servers.at(name).client.query(`UPDATE accounts SET owner = $1, note = $1 WHERE id <= 3`, [name]);
    await servers.setAllCut(false);
    // Each row has another referee.
    await until(
      'the first region has its way',
      async () => {
        const { rows } = await servers.at('us').client.query(`SELECT owner FROM accounts WHERE id <= 2`);
        return rows.length === 2 && rows.every(({ owner }) => owner === 'eu');
      },
      60_000,
    );
    await untilAll('1:eu:ap 2:eu:ap 3:eu:ap 4:x:y');
    await servers.at('ap').client.query(`UPDATE accounts SET owner = 'later' WHERE id = 1`);
    await untilAll('1:later:ap 2:eu:ap 3:eu:ap 4:x:y');
    const comparison = await servers.compare();
    expect(comparison.differences).toEqual([]);
    const logs = await until('all have logged what was decided', async () => {
      const all = await Promise.all(
        servers.regions.map(({ client }) =>
          client.query(
            `SELECT key, before_row, result_row FROM lockstep_regions.conflicts WHERE decision = 'region-priority' ORDER BY key, later_us`,
          ),
        ),
      );
      const texts = all.map(({ rows }) => JSON.stringify(rows));
      return all[0]?.rowCount !== 0 && texts.every((text) => text === texts[0]) ? all : null;
    });
    expect(logs[0]?.rows[0]).toMatchObject({ key: '1', result_row: { owner: 'eu' } });
  });
});

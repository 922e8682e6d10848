import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRandom } from '../../src/testing/simulation/random.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA = `
CREATE TABLE accounts (id int PRIMARY KEY, email text UNIQUE, phone text, city text, note text, UNIQUE (city, phone));
`;
const NAMES = ['eu', 'us', 'ap'];

describe('unique values that two regions gave to two rows', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA);
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  async function rowsIn(name: string): Promise<string> {
    const { rows } = await servers
      .at(name)
      .client.query(
        `SELECT coalesce(string_agg(id || '=' || coalesce(email, '-'), ' ' ORDER BY id), '') AS all FROM accounts`,
      );
    return rows[0].all as string;
  }

  const untilAll = (wanted: string): Promise<true> =>
    until(
      `all have ${wanted}`,
      async () => {
        const found = await Promise.all(NAMES.map(rowsIn));
        return found.every((one) => one === wanted);
      },
      30_000,
    );

  it('are held by the later row, and the other one comes back when they are free', async () => {
    await servers.setAllCut(true);
    await servers.at('eu').client.query(`INSERT INTO accounts (id, email) VALUES (1, 'a@x')`);
    await servers.at('us').client.query(`INSERT INTO accounts (id, email) VALUES (2, 'a@x')`);
    await servers.setAllCut(false);
    await untilAll('2=a@x');
    await until('the other one is aside everywhere', async () => {
      const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
      return all.every(({ parked }) => parked === 1);
    });
    await servers.at('ap').client.query(`UPDATE accounts SET email = 'b@x' WHERE id = 2`);
    await untilAll('1=a@x 2=b@x');
    await until('none is aside', async () => {
      const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
      return all.every(({ parked }) => parked === 0);
    });
  });

  // More by hand.
  const seeds = (process.env['LOCKSTEP_UNIQUE_SEEDS'] ?? '1').split(',').map(Number);
  const rounds = Number(process.env['LOCKSTEP_UNIQUE_ROUNDS'] ?? 120);
  it.each(seeds)('end alike after random writes and cuts (seed %i)', async (seed) => {
    const random = createRandom(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    for (let i = 0; i < rounds; i++) {
      await Promise.all(
        NAMES.map(async (name) => {
          const { client } = servers.at(name);
          const id = seed * 100 + below(8);
          const kind = below(10);
          const email = `${seed}${'abcd'[below(4)]}@x`;
          const phone = `${seed}${below(3)}`;
          const write =
            kind < 5
              ? client.query(
                  `INSERT INTO accounts (id, email, phone, city, note) VALUES ($1, $2, $3, 'c', $4)
                   ON CONFLICT (id) DO UPDATE SET email = excluded.email, phone = excluded.phone, note = excluded.note`,
                  [id, email, phone, `${name}${i}`],
                )
              : kind < 8
                ? client.query('UPDATE accounts SET note = $2 WHERE id = $1', [id, `${name}${i}`])
                : client.query('DELETE FROM accounts WHERE id = $1', [id]);
          // A value that is taken here is refused here, as ever; and a batch may hold what this write wants next.
          await write.catch((error: { code?: string }) => {
            if (error.code !== '23505' && error.code !== '40P01') throw error;
          });
        }),
      );
      if (i % 40 === 15) await servers.setAllCut(true);
      if (i % 40 === 30) await servers.setAllCut(false);
    }
    await servers.setAllCut(false);
    const comparison = await servers.compare();
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
  });
});

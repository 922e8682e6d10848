import pg from 'pg';
import { expect, it } from 'vitest';
import { cart, cas, lww } from '../../../src/leaderless/index.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

async function count(url: string, table: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM lockstep_leaderless.${table} WHERE collection <> 'kept'`,
    );
    return rows[0]?.count ?? -1;
  } finally {
    await client.end();
  }
}

it('what was deleted is forgotten once all servers know it, not before, and late messages do not bring it back', async () => {
  await using servers = await IndependentServers.start();
  const urls = servers.servers.map(({ url }) => url);
  const q = await servers.quorum({ keepDeletedMs: 1_500, catchUpEveryMs: 100 });
  const carts = q.collection('carts', cart());
  const prefs = q.collection('prefs', lww<string>());
  const seats = q.collection('seats', cas<string>());
  const kept = q.collection('kept', lww<string>());
  await kept.put('key', 'stays');
  for (let index = 0; index < 20; index++) {
    await carts.add(`c${index}`, { sku: 7, quantity: 2 });
    await prefs.put(`k${index}`, 'value');
    await seats.create(`s${index}`, 'owner');
  }
  await until('all have it', async () =>
    (await Promise.all(urls.map((url) => count(url, 'tallies')))).every((rows) => rows === 20),
  );
  // An old state, as somebody may have read it who is slow to bring it over.
  const late = new pg.Client({ connectionString: urls[2] ?? '' });
  await late.connect();
  const old = await late.query<{ at: string; writer: string; born: string; actor: string }>(
    `SELECT r.at, r.writer, t.born_at AS born, t.actor FROM lockstep_leaderless.registers r, lockstep_leaderless.tallies t
     WHERE r.key = 'k0' AND t.key = 'c0'`,
  );
  const { at, writer, born, actor } = old.rows[0] ?? { at: '', writer: '', born: '', actor: '' };

  await servers.kill('q1');
  await until('it is missed', () => q.status().nodes[0]?.state === 'down');
  for (let index = 0; index < 20; index++) {
    await carts.clear(`c${index}`);
    await prefs.delete(`k${index}`);
    await seats.delete(`s${index}`);
  }
  // Longer than deletions are kept, and still nothing goes while one server does not know of them.
  const deletedAt = Date.now();
  await until('time passes', () => Date.now() - deletedAt > 2_500);
  expect(await count(urls[1] ?? '', 'registers')).toBe(20);
  expect(await count(urls[1] ?? '', 'slots')).toBe(20);

  await servers.restart('q1');
  await until(
    'it is forgotten everywhere',
    async () => {
      const rows = await Promise.all(
        ['registers', 'tallies', 'slots'].flatMap((table) => urls.map((url) => count(url, table))),
      );
      return rows.every((left) => left === 0);
    },
    60_000,
  );
  expect(q.status().collected).toEqual({ forgotten: 120, erased: 20 });

  const epoch = q.status().epoch;
  await late.query(
    `SELECT lockstep_leaderless.merge_registers($1, 10000, true, '{prefs}', '{k0}', '{""}', '{"\\"value\\""}', $2, $3, '{null}')`,
    [epoch, [at], [writer]],
  );
  await late.query(
    `SELECT lockstep_leaderless.merge_tallies($1, 10000, true, '{carts}', '{c0}', '{7}', $2, '{2}', '{0}', $3)`,
    [epoch, [actor], [born]],
  );
  await expect(
    late.query(
      `SELECT lockstep_leaderless.merge_tallies($1, 10000, false, '{carts}', '{c0}', '{7}', $2, '{3}', '{0}', $3)`,
      [epoch, [actor], [born]],
    ),
  ).rejects.toMatchObject({ code: 'LS003' });
  const accepted = await late.query<{ is_accepted: boolean }>(
    `SELECT is_accepted FROM lockstep_leaderless.accept($1, '{seats}', '{s0}', '{2}', '{late}', '{3}', '{1}', '{"\\"late\\""}', '{late:2-2}')`,
    [epoch],
  );
  expect(accepted.rows).toEqual([{ is_accepted: false }]);
  await late.end();
  expect((await carts.get('c0')).value).toEqual([]);
  expect((await prefs.get('k0')).value).toBeUndefined();
  expect(await seats.get('s0')).toMatchObject({ value: undefined, version: 0 });
  expect((await kept.get('key')).value).toBe('stays');

  // A key that is made anew has no version that it had before; carts go on with a new actor.
  const again = await seats.create('s0', 'other');
  expect(again).toMatchObject({ kind: 'applied', value: 'other' });
  expect(again.kind === 'applied' && again.version > 2).toBe(true);
  await carts.add('c0', { sku: 7, quantity: 1 });
  expect((await carts.get('c0')).value).toEqual([{ sku: 7, quantity: 1 }]);
});

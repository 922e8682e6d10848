import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { parseLsn } from '../../src/model/lsn.ts';
import { resolveAccount } from '../../src/postgres/account.ts';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { REPLICATION_USER } from '../../src/postgres/settings.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

it('does not lead again from data that were put back, and undoes nothing that was acknowledged', async () => {
  await using cluster = await startTestCluster();
  const leader = await cluster.leader();
  const node = cluster.nodes.find(({ name }) => name === leader);
  const others = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  if (node === undefined) throw new Error('no leader');
  const write = await connect(node.dsn);
  await write.query('CREATE TABLE kept (id int PRIMARY KEY)');
  await write.query('INSERT INTO kept SELECT generate_series(1, 100)');
  const { secrets } = JSON.parse(await readFile(join(cluster.folder, 'cluster.json'), 'utf8')) as {
    secrets: { replication: string };
  };
  const copy = join(node.folder, 'copy');
  await takeBaseBackup({
    source: { host: node.host, port: node.port, user: REPLICATION_USER, password: secrets.replication },
    dataDir: copy,
    account: await resolveAccount(),
  });
  await write.query('INSERT INTO kept SELECT generate_series(101, 1100)');
  const { rows } = await write.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
  const written = parseLsn(rows[0]?.lsn ?? '');
  await until('it is noted how far the others have it', async () => {
    const [, lsn] = (await readFile(join(node.folder, 'shown-log'), 'utf8').catch(() => ''))
      .trim()
      .split(' ');
    return lsn !== undefined && parseLsn(lsn) >= written;
  });
  await write.end();

  for (const name of [...others, leader]) await cluster.kill(name);
  await rename(join(node.folder, 'data'), join(node.folder, 'lost-data'));
  await rename(copy, join(node.folder, 'data'));
  // The one that led last first: it finds one of the others, and could take the leadership at once.
  for (const name of [leader, ...others]) await cluster.start(name);
  await cluster.untilWhole();
  expect(others).toContain(await cluster.leader());
  for (const { dsn } of cluster.nodes) {
    const read = await connect(dsn);
    await until('all rows', async () => {
      const answer = await read.query<{ count: number }>('SELECT count(*)::int AS count FROM kept');
      return answer.rows[0]?.count === 1_100;
    });
    await read.end();
  }
});

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}

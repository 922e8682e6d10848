import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { connect } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import type { Topology } from '../../src/model/topology.ts';
import { ETCD, EtcdCluster } from './etcd-cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';

async function slotsOf(dsn: string): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  try {
    const { rows } = await client.query<{ slot_name: string }>(
      'SELECT slot_name FROM pg_replication_slots ORDER BY slot_name',
    );
    return rows.map((row) => row.slot_name);
  } finally {
    await client.end();
  }
}

function whenSynchronous(cluster: TestCluster, name: string): Promise<Topology> {
  return until(
    `${name} in the sync set`,
    async () => {
      const topology = await cluster.status().catch(() => null);
      const node = topology?.nodes.find((candidate) => candidate.name === name);
      return topology !== null && node?.sync === true && topology.isFailoverReady ? topology : null;
    },
    30_000,
  );
}

test('a fourth node comes, leads and stays, and another goes, while an app writes', async () => {
  await using cluster = await startTestCluster();
  const pool = await connect({ connectionString: cluster.url, max: 4 });
  await pool.query('CREATE TABLE written (id int PRIMARY KEY)');
  const acknowledged: number[] = [];
  let isWriting = true;
  let next = 0;
  const writers = Array.from({ length: 3 }, async () => {
    while (isWriting) {
      const id = next++;
      const isDone = await pool.query('INSERT INTO written VALUES ($1)', [id]).then(
        () => true,
        () => false,
      );
      if (isDone) acknowledged.push(id);
    }
  });
  try {
    await cluster.untilWhole();
    const added = await cluster.addNode('n4');
    const whole = await whenSynchronous(cluster, 'n4');
    expect(whole.nodes.map(({ name, voter }) => [name, voter])).toEqual([
      ['n1', true],
      ['n2', true],
      ['n3', true],
      ['n4', false],
    ]);
    await cluster.untilWhole();
    const writtenBefore = acknowledged.length;
    expect(await cluster.switchover('n4')).toMatchObject({ to: 'n4' });
    await until('writes on n4', async () => (acknowledged.length > writtenBefore + 20 ? true : null));
    await cluster.untilWhole();
    expect(await slotsOf(added.dsn)).toEqual(['lockstep_n1', 'lockstep_n2', 'lockstep_n3']);

    // A fifth one is there to be removed: it is in the sync set like any other.
    const fifth = await cluster.addNode('n5');
    await whenSynchronous(cluster, 'n5');
    await cluster.removeNode('n5');
    const after = await cluster.untilWhole();
    expect(after.nodes.map((node) => node.name)).toEqual(['n1', 'n2', 'n3', 'n4']);
    expect(await readFile(join(fifth.folder, 'data', 'PG_VERSION'), 'utf8')).toMatch(/^\d+/);
    await until('no slot for n5', async () =>
      (await slotsOf(added.dsn)).includes('lockstep_n5') ? null : true,
    );

    // n4 dies: it does not vote, so the others elect one of themselves by suspicion and support.
    await cluster.kill('n4');
    await until('another leader', async () => {
      const { leader } = await cluster.status();
      return leader !== null && leader !== 'n4' ? leader : null;
    });
    // Removing a dead node works too, and its name is not given again.
    await cluster.removeNode('n4');
    await expect(cluster.addNode('n4')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await cluster.untilWhole();
  } finally {
    isWriting = false;
    await Promise.all(writers);
  }
  const { rows } = await pool.query<{ id: number }>('/* fresh */ SELECT id FROM written');
  await pool.end();
  const kept = new Set(rows.map((row) => row.id));
  expect(acknowledged.filter((id) => !kept.has(id))).toEqual([]);
  expect(acknowledged.length).toBeGreaterThan(100);
}, 300_000);

test('a node is copied and removed though leaders die meanwhile', async () => {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const writer = new Writer(cluster);
  writer.start();
  const stateOf = async (name: string): Promise<string | undefined> =>
    (await cluster.status()).nodes.find((node) => node.name === name)?.state;

  await cluster.addNode('n4');
  await until('it is copied', async () => (await stateOf('n4')) === 'rejoining', 60_000);
  const first = await cluster.leader();
  await cluster.kill(first);
  await until('it follows another', async () => (await stateOf('n4')) === 'running', 90_000);
  await cluster.start(first);
  await cluster.untilWhole(90_000);

  const second = await cluster.leader();
  const removed = cluster.removeNode('n4').catch((error: unknown) => error);
  await until('it is to leave', async () => {
    const { nodes } = await cluster.status();
    return nodes.every(({ name, detail }) => name !== 'n4' || detail === 'leaving');
  });
  await cluster.kill(second);
  const leadsNow = async (): Promise<boolean> => ![null, second].includes((await cluster.status()).leader);
  await until('another leads', leadsNow, 60_000);
  await cluster.start(second);
  // The one that leaves leads if it alone may have a commit, and goes once it has handed over.
  await until('one leads that stays', async () => {
    const { leader } = await cluster.status();
    if (leader === 'n4')
      spawnSync(process.execPath, [CLI, 'switchover', '--config', join(cluster.folder, 'cluster.json')]);
    return leader !== null && leader !== 'n4';
  });
  expect(await removed).toBeUndefined();
  const { nodes } = await cluster.untilWhole(90_000);
  expect(nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
  const before = writer.acknowledged.length;
  await until('writes flow', () => writer.acknowledged.length > before + 20);
  await writer.stop();
  expect(await missing(cluster, writer)).toEqual([]);
}, 300_000);

test.skipIf(ETCD === null)(
  'a third node comes to two with etcd, leads, dies and goes',
  async () => {
    await using etcd = await EtcdCluster.start({ members: 1 });
    await using cluster = await startTestCluster({
      nodes: 2,
      coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
    });
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writer = new Writer(cluster);
    writer.start();
    await cluster.addNode('n3');
    await whenSynchronous(cluster, 'n3');
    await cluster.switchover('n3');
    await cluster.untilWhole();
    await cluster.kill('n3');
    await until('a voter leads', async () => {
      const { leader } = await cluster.status();
      return leader !== null && leader !== 'n3';
    });
    await cluster.removeNode('n3');
    await cluster.untilWhole();
    const before = writer.acknowledged.length;
    await until('writes flow', () => writer.acknowledged.length > before + 20);
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
  },
  120_000,
);

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestNode } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { onLeader } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';

async function receiverPid(node: TestNode): Promise<number> {
  const client = new pg.Client(node.dsn);
  await client.connect();
  try {
    const { rows } = await client.query('SELECT pid FROM pg_stat_wal_receiver');
    return Number(rows[0].pid);
  } finally {
    await client.end();
  }
}

it('a node that leaves and alone has a commit leads when the leader dies, and goes when it has handed over', async () => {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  await cluster.addNode('n4');
  await until('all are in the sync set', async () => {
    const { nodes } = await cluster.status();
    return nodes.filter(({ sync }) => sync).length === 3;
  });
  const first = await cluster.leader();
  const others = cluster.nodes.filter(({ name }) => name !== first && name !== 'n4');
  const stopped = await Promise.all(others.map(receiverPid));
  for (const pid of stopped) process.kill(pid, 'SIGSTOP');
  try {
    await onLeader(cluster, (client) => client.query('INSERT INTO written VALUES (1)'));
    void cluster.removeNode('n4').catch(() => undefined);
    await until('n4 is to leave', async () => {
      const { nodes } = await cluster.status();
      return nodes.some(({ name, detail }) => name === 'n4' && detail === 'leaving');
    });
    await cluster.kill(first);
  } finally {
    // They end without another look at what the leader had sent.
    for (const signal of ['SIGTERM', 'SIGCONT']) for (const pid of stopped) process.kill(pid, signal);
  }
  await until('n4 leads', async () => (await cluster.status()).leader === 'n4', 60_000);

  await until(
    'it hands over',
    async () => {
      spawnSync(process.execPath, [CLI, 'switchover', '--config', join(cluster.folder, 'cluster.json')]);
      return ![null, 'n4'].includes((await cluster.status()).leader);
    },
    60_000,
  );
  await cluster.start(first);
  const { nodes } = await cluster.untilWhole(90_000);
  expect(nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
  const after = await onLeader(cluster, (client) => client.query('SELECT id FROM written'));
  expect(after.rows).toEqual([{ id: 1 }]);
}, 240_000);

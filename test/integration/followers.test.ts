import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { NodeTopology } from '../../src/model/topology.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';

function whenFollows(cluster: TestCluster, name: string, upstream: string): Promise<NodeTopology> {
  return until(
    `${name} follows ${upstream}`,
    async () => {
      const topology = await cluster.status().catch(() => null);
      const node = topology?.nodes.find((candidate) => candidate.name === name);
      return node?.follows === upstream && node.timeline === topology?.timeline ? node : null;
    },
    60_000,
  );
}

test('a cascading and a delayed follower come, lose whom they follow, and are in place again', async () => {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const writer = new Writer(cluster);
  writer.start();
  const leader = await cluster.leader();
  const [middle = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  await expect(cluster.addNode('n9', { from: 'n8' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });

  const cascading = await cluster.addNode('n4', { from: middle });
  expect((await whenFollows(cluster, 'n4', middle)).kind).toBe('cascading');
  expect(await readFile(join(cascading.folder, 'agent.log'), 'utf8').catch(() => '')).not.toMatch(/Error/);
  await cluster.addNode('n5', { delay: '1h' });
  await whenFollows(cluster, 'n5', leader);
  await expect(cluster.addNode('n6', { from: 'n5' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });

  // Its upstream dies: the leader feeds it; and it goes back when the upstream is.
  await cluster.kill(middle);
  await whenFollows(cluster, 'n4', leader);
  await cluster.start(middle);
  await whenFollows(cluster, 'n4', middle);

  // The leader dies: the chain hangs on the next one, and the delayed node's log goes on.
  await cluster.kill(leader);
  const next = await until(
    'another leads',
    async () => {
      const { leader: now } = await cluster.status();
      return now !== null && now !== leader ? now : null;
    },
    60_000,
  );
  expect(next).not.toBe('n5');
  await whenFollows(cluster, 'n5', next);
  if (next !== 'n4') await whenFollows(cluster, 'n4', next === middle ? next : middle);
  await cluster.start(leader);
  await cluster.untilWhole(120_000);
  const { nodes } = await cluster.status();
  expect(nodes.find(({ name }) => name === 'n5')).toMatchObject({ sync: false, kind: 'delayed' });
  const before = writer.acknowledged.length;
  await until('writes flow', () => writer.acknowledged.length > before + 20);
  await writer.stop();
  expect(await missing(cluster, writer)).toEqual([]);
}, 300_000);

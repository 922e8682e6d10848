import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { freePort, until } from './fixture.ts';
import { expectWritesToOutlive, giveNewVote } from './missing-vote.ts';
import { onLeader } from './numbered-writes.ts';

it('a voter that died is replaced on another machine, at another address', async () => {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const leader = await cluster.leader();
  const [lost = '', other = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  const folder = join(cluster.folder, 'nodes', lost);
  await cluster.kill(lost);
  await rm(folder, { recursive: true });
  const path = join(cluster.folder, 'cluster.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as {
    nodes: { name: string; port: number; agentPort: number }[];
  };
  for (const node of config.nodes) {
    if (node.name === lost) [node.port, node.agentPort] = [await freePort(), await freePort()];
  }
  await writeFile(path, JSON.stringify(config), { mode: 0o600 });

  await cluster.start(lost);
  await until('it says that it does not vote', async () =>
    (await readFile(join(folder, 'agent.log'), 'utf8').catch(() => '')).includes('This node does not vote'),
  );
  await cluster.kill(other);
  await cluster.start(other);
  // While it was away nobody had a majority.
  await until(
    'it leads',
    async () => {
      if ((await cluster.leader()) !== other) await cluster.switchover(other);
      return true;
    },
    30_000,
  );
  await cluster.kill(leader);
  await cluster.start(leader);
  await giveNewVote(cluster, lost);
  await expectWritesToOutlive(cluster, leader);
}, 240_000);

import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster, TestNode } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { onLeader } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';

function statusText(cluster: TestCluster): string {
  const words = ['status', '--config', join(cluster.folder, 'cluster.json')];
  return spawnSync(process.execPath, [CLI, ...words], { encoding: 'utf8' }).stdout;
}

async function codes({ agentUrl }: TestNode): Promise<readonly number[]> {
  const paths = ['/health', '/replica', '/replica?lag=1s'];
  return Promise.all(paths.map(async (path) => (await fetch(agentUrl + path)).status));
}

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

async function postmasterPid(cluster: TestCluster, { name }: TestNode): Promise<number> {
  const text = await readFile(join(cluster.folder, 'nodes', name, 'data/postmaster.pid'), 'utf8');
  return Number.parseInt(text, 10);
}

it('tells that nobody acknowledges when the followers hang, and says nothing of an idle cluster', async () => {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const leader = await cluster.leader();
  const followers = cluster.nodes.filter(({ name }) => name !== leader);

  const positions = new Set<string | null | undefined>();
  await until('an idle leader wrote its sign of life some times', async () => {
    const seen = await cluster.status();
    expect(seen).toMatchObject({ isFailoverReady: true, syncPolicy: { waitsFor: [] } });
    positions.add(seen.nodes.find(({ name }) => name === leader)?.receivedLsn);
    return positions.size > 6;
  });
  for (const node of followers) expect(await codes(node)).toEqual([200, 200, 200]);

  const stopped = await Promise.all(followers.map(receiverPid));
  let written: Promise<unknown>;
  try {
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    written = onLeader(cluster, (client) => client.query('INSERT INTO written VALUES (1)'));
    written.catch(() => undefined);
    const names = followers.map(({ name }) => name);
    const seen = await until('the wait is told', async () => {
      const now = await cluster.status();
      return now.syncPolicy?.waitsFor?.length === 2 && !now.isFailoverReady && now;
    });
    expect(seen).toMatchObject({ leader, isSwitchoverReady: false, syncPolicy: { waitsFor: names } });
    expect(seen.failoverObstacle).toContain(`${leader} gets no acknowledgement from ${names.join(', ')}`);
    const text = statusText(cluster);
    expect(text).not.toContain('failover ready');
    expect(text).toContain(`synchronous commits wait for ${names.join(', ')}: `);
    for (const node of followers) {
      await until(`${node.name} says that it hangs`, async () =>
        (await codes(node)).every((code) => code === 503),
      );
      await until(`the lag of ${node.name} grows`, async () => {
        const { nodes } = await cluster.status();
        return (nodes.find(({ name }) => name === node.name)?.lagMs ?? 0) > 5_000;
      });
    }
  } finally {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
  }
  await written;
  await until('all is well again', async () => {
    const now = await cluster.status();
    return now.isFailoverReady && now.syncPolicy?.waitsFor?.length === 0;
  });
  for (const node of followers)
    await until(`${node.name} is well`, async () => (await codes(node)).every((code) => code === 200));

  const [suspended] = followers as [TestNode, ...TestNode[]];
  const pid = await postmasterPid(cluster, suspended);
  process.kill(pid, 'SIGSTOP');
  try {
    const remedy = 'let its PostgreSQL go on (kill -CONT): somebody has suspended it';
    await until('status says who is suspended', () => statusText(cluster).includes(remedy));
    const head = '2 of 3 nodes running';
    await until('its head line does not count it', () => statusText(cluster).includes(head));
    const health = (await (await fetch(`${suspended.agentUrl}/health`)).json()) as { problems: string[] };
    expect(health.problems).toContain(`PostgreSQL does not answer, or has no right to lead (${remedy})`);
    const log = join(cluster.folder, 'nodes', suspended.name, 'agent.log');
    await until('its log has it', async () => (await readFile(log, 'utf8')).includes(remedy));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

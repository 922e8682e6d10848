import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';

const PATIENCE_MS = 60_000;

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

async function untilConfirmedBy(count: number, isDegraded: boolean): Promise<void> {
  await until(
    `commits are confirmed by ${count}`,
    async () => {
      const { syncPolicy } = await cluster.status();
      return syncPolicy?.confirmedBy === count && syncPolicy.isDegraded === isDegraded;
    },
    PATIENCE_MS,
  );
}

it('waits for all, for those who are there, and for all again, and loses nothing', async () => {
  const writer = new Writer(cluster, 'on');
  writer.start();
  try {
    const wroteMore = async (what: string): Promise<void> => {
      const before = writer.acknowledged.length;
      await until(what, () => writer.acknowledged.length > before + 5, PATIENCE_MS);
    };
    await cluster.setPolicy({ followers: 'all', degradeAfterMs: null });
    await untilConfirmedBy(2, false);
    const leader = await cluster.leader();
    const [away = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
    await cluster.kill(away);
    // At most one was on its way when the follower died; strictly, none is acknowledged until that is allowed.
    const atDeath = writer.acknowledged.length;
    const waiting = `SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
    await until(
      'a commit waits',
      async () => ((await onLeader(cluster, (client) => client.query(waiting))).rowCount ?? 0) > 0,
      PATIENCE_MS,
    );
    expect(writer.acknowledged.length).toBeLessThanOrEqual(atDeath + 1);
    await cluster.setPolicy({ followers: 'all', degradeAfterMs: 1_000 });
    await untilConfirmedBy(1, true);
    await wroteMore('writes go on by the policy that degrades');
    await cluster.start(away);
    await untilConfirmedBy(2, false);
    await wroteMore('writes go on with both');
    await expect(cluster.setPolicy({ followers: 3, degradeAfterMs: null })).rejects.toThrow(
      /cannot wait for 3 followers: 2/,
    );
  } finally {
    await writer.stop();
  }
  expect(await missing(cluster, writer)).toEqual([]);
});

function run(...words: readonly string[]): { readonly status: number | null; readonly said: string } {
  const place = ['--config', join(cluster.folder, 'cluster.json')];
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...words, ...place], {
    encoding: 'utf8',
  });
  return { status, said: stdout + stderr };
}

it('asks before commits wait for who is away, and says so while they do', async () => {
  await cluster.setPolicy({ followers: 1, degradeAfterMs: null });
  await cluster.untilWhole();
  const leader = await cluster.leader();
  const [away = '', left = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  await cluster.kill(away);
  await until('its death is known', async () => {
    const { nodes } = await cluster.status();
    return nodes.find(({ name }) => name === away)?.state === 'unreachable';
  });
  expect(run('policy', 'set', 'sync')).toEqual({
    status: 1,
    said: expect.stringContaining(`Start ${away} first, name a --degrade-after, or pass --force`),
  });
  expect((await cluster.status()).syncPolicy).toMatchObject({ followers: 1 });
  expect(run('node', 'reclone', left)).toEqual({
    status: 1,
    said: expect.stringContaining(`synchronous commits wait until ${left} has its copy`),
  });

  expect(run('policy', 'set', 'sync', '--force')).toEqual({
    status: 0,
    said: expect.stringContaining(`Synchronous commits wait for ${away} to acknowledge`),
  });
  const waits = `synchronous commits wait for ${away}: the policy is every follower that may lead`;
  await until('status says what commits wait for', () => run('status').said.includes(waits), PATIENCE_MS);
  expect(run('policy', 'set', 'semi-sync')).toMatchObject({ status: 0 });
  await onLeader(cluster, (client) => client.query('CREATE TABLE goes_on (id int)'));
  await until('nothing waits', () => !run('status').said.includes('commits wait'), PATIENCE_MS);
  await cluster.start(away);
  await cluster.untilWhole();
});

import { access } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { ETCD, EtcdCluster } from './etcd-cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer, writeThroughDeaths } from './numbered-writes.ts';

/** What a cluster has with etcd unless it says otherwise. */
const LEASE_TTL_MS = 5_000;

describe.skipIf(ETCD === null)('a cluster coordinated by etcd (needs the program etcd)', () => {
  it('survives the death of its leader, losing no acknowledged synchronous commit', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    await using cluster = await startTestCluster({
      coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
    });
    const writer = await writeThroughDeaths(cluster, 2);
    expect(await missing(cluster, writer)).toEqual([]);
    // Nothing of the agents' own consensus is there.
    for (const node of cluster.nodes) {
      const answer = await fetch(`${node.agentUrl}/v1/consensus`, { method: 'POST' });
      expect(answer.ok).toBe(false);
      await expect(access(`${cluster.folder}/nodes/${node.name}/consensus.json`)).rejects.toThrow('ENOENT');
    }
  });

  it('goes on with the same leader when the leading one of three etcd members is killed', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    await using cluster = await startTestCluster({
      coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
    });
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const { leader, term, version } = await cluster.status();
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 50);
    await etcd.kill(await etcd.leader());
    await until('the lease is renewed again', async () => (await cluster.status()).version > version + 10);
    const before = writer.acknowledged.length;
    await until('writes flow', () => writer.acknowledged.length > before + 50);
    expect(await cluster.status()).toMatchObject({ leader, term });
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
    expect(writer.longestGapMs()).toBeLessThan(1_000);
  });

  it('keeps its leader without etcd while all members answer, and stops when one does not (I6)', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    await using cluster = await startTestCluster({
      coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
    });
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const { leader, term } = await cluster.status();
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 50);
    for (const index of [0, 1]) await etcd.kill(index);
    const longAfterTheLease = performance.now() + 2 * LEASE_TTL_MS;
    await until('writes flow without etcd', () => {
      return (writer.acknowledged.at(-1)?.atMs ?? 0) > longAfterTheLease;
    });
    expect(await cluster.status()).toMatchObject({ leader, term });
    const follower = cluster.nodes.find((node) => node.name !== leader)!.name;
    await cluster.kill(follower);
    await until('nobody leads', async () => (await cluster.status()).leader === null);
    const stopped = writer.acknowledged.length;
    await Promise.all([0, 1].map((index) => etcd.restart(index)));
    await cluster.start(follower);
    await until('writes flow again', () => writer.acknowledged.length > stopped + 50);
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
  });
});

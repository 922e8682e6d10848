import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer, writeThroughDeaths } from './numbered-writes.ts';

describe('a cluster of real processes', () => {
  it('survives the death of its leader three times, losing no acknowledged synchronous commit', async () => {
    await using cluster = await startTestCluster();
    const writer = await writeThroughDeaths(cluster, 3);
    expect(await missing(cluster, writer)).toEqual([]);
    expect(writer.longestGapMs()).toBeLessThan(5_000);
    await until('all are on one timeline', async () => {
      const { nodes, timeline } = await cluster.status();
      return nodes.every((node) => node.timeline === timeline);
    });
  });

  it('hands over in a switchover, losing nothing', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 50);
    const old = await cluster.leader();
    const target = old === 'n3' ? 'n2' : 'n3';
    await until('the target is in the sync set', async () => {
      const { nodes } = await cluster.status();
      return nodes.some((node) => node.name === target && node.sync);
    });
    const result = await cluster.switchover(target);
    expect(result).toMatchObject({ from: old, to: target });
    await cluster.untilWhole();
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
    await expect(cluster.switchover('n9')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('lets a suspended leader acknowledge nothing after it was replaced, and takes it back', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const old = await cluster.leader();
    const oldNode = cluster.nodes.find((node) => node.name === old);
    const stuck = new pg.Client({ connectionString: oldNode?.dsn ?? '' });
    stuck.on('error', () => undefined);
    await stuck.connect();
    await cluster.pause(old);
    // Sent while it sleeps: it will be the first thing that the woken server reads.
    const late = stuck.query('INSERT INTO written VALUES (-1)').then(
      () => 'acknowledged',
      () => 'failed',
    );
    await until('another leads', async () => {
      const { leader } = await cluster.status();
      return leader !== null && leader !== old;
    });
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 50);
    await cluster.resume(old);
    expect(await late).toBe('failed');
    await cluster.untilWhole();
    await writer.stop();
    await stuck.end().catch(() => undefined);
    expect(await missing(cluster, writer)).toEqual([]);
    const { rows } = await onLeader(cluster, (client) => client.query('SELECT 1 FROM written WHERE id = -1'));
    expect(rows).toEqual([]);
  });

  it('says that it is not ready for a failover while a vote for one would be missing, and why', async () => {
    await using cluster = await startTestCluster();
    const leader = await cluster.leader();
    const [follower] = cluster.nodes.filter((node) => node.name !== leader);
    const obstacle = async (): Promise<string> => (await cluster.status()).failoverObstacle ?? '';
    // Its file is gone, as on a broken disk, and something that it cannot remove stands where it would make a new one.
    const inTheWay = join(follower!.folder, 'consensus.json.next');
    await mkdir(inTheWay);
    await rm(join(follower!.folder, 'consensus.json'));
    const told = `1 of the 2 votes that an election needs: the vote of ${follower!.name} does not count (`;
    await until('the voter tells', async () => (await obstacle()).startsWith(told));
    expect(await cluster.status()).toMatchObject({ isFailoverReady: false, isSwitchoverReady: true });
    await rm(inTheWay, { recursive: true });
    await cluster.untilWhole();

    await cluster.kill(follower!.name);
    await until(
      'the dead one is missed as a voter, after it left the sync set',
      async () => {
        const { failoverObstacle, isSwitchoverReady } = await cluster.status();
        const missed = `1 of the 2 votes that an election needs: ${follower!.name} does not answer`;
        return failoverObstacle === missed && isSwitchoverReady === true;
      },
      30_000,
    );
    await cluster.start(follower!.name);
    expect(await cluster.untilWhole()).toMatchObject({ isFailoverReady: true, failoverObstacle: null });
  });

  it('follows a new leader as soon as its settings can be written, and is not copied anew for that', async () => {
    await using cluster = await startTestCluster();
    const old = await cluster.leader();
    const [next, other] = cluster.nodes.filter((node) => node.name !== old);
    const log = (): Promise<string> => readFile(join(other!.folder, 'agent.log'), 'utf8');
    const copies = async (): Promise<number> => (await log()).split('"cloned"').length;
    const before = await copies();
    // Something that it cannot remove stands where they are written first, as on a full disk.
    const inTheWay = join(other!.folder, 'data', 'lockstep.conf.lockstep');
    await mkdir(inTheWay);
    await until('it is handed over', () => cluster.switchover(next!.name).then(() => true));
    await until('it could not follow', async () => (await log()).includes('lockstep.conf.lockstep'));
    // It tries once a second, first to let go and then to follow.
    const triedAtMs = performance.now() + 3_000;
    await until('it tried again', () => performance.now() > triedAtMs);
    expect(await log()).not.toContain(`follows ${next!.name} in term`);
    await rm(inTheWay, { recursive: true });
    await cluster.untilWhole();
    expect(await copies()).toBe(before);
  });

  it('comes back after everything died at once, with all that was acknowledged', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 50);
    await Promise.all(cluster.nodes.map((node) => cluster.kill(node.name)));
    await writer.stop();
    for (const node of cluster.nodes) await cluster.start(node.name);
    await cluster.untilWhole();
    expect(await missing(cluster, writer)).toEqual([]);
  });
});

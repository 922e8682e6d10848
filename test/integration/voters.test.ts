import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Topology } from '../../src/model/topology.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { ETCD, EtcdCluster } from './etcd-cluster.ts';
import { until } from './fixture.ts';
import { expectWritesToOutlive, giveNewVote } from './missing-vote.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');

/** More than any first writer gets to. */
const LATER_ROWS = 1_000_000;

async function startWriting(cluster: TestCluster): Promise<Writer> {
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const writer = new Writer(cluster);
  writer.start();
  return writer;
}

async function untilItFollows(cluster: TestCluster, name: string): Promise<void> {
  await until(
    `${name} follows`,
    async () => {
      const { nodes, timeline } = await cluster.status();
      const node = nodes.find((candidate) => candidate.name === name);
      return node?.role === 'follower' && node.state === 'running' && node.timeline === timeline;
    },
    60_000,
  );
}

function votersOf({ nodes }: Topology): readonly string[] {
  return nodes.filter(({ voter }) => voter !== false).map(({ name }) => name);
}

/** Every node's own agent knows them. */
async function untilAllKnow(cluster: TestCluster, voters: readonly string[]): Promise<void> {
  await until(`the voters are ${voters.join(', ')}`, async () => {
    const topology = await cluster.status();
    return votersOf(topology).toSorted().join() === voters.join();
  });
}

async function others(cluster: TestCluster): Promise<readonly string[]> {
  const leader = await cluster.leader();
  return cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
}

describe('voters that change while an app writes', () => {
  it('a dead voter is replaced by a new node, and the new voters outlive a second loss and a third', async () => {
    await using cluster = await startTestCluster();
    const writer = await startWriting(cluster);
    const [dead = ''] = await others(cluster);
    await cluster.kill(dead);
    await cluster.addNode('n4');
    await untilItFollows(cluster, 'n4');
    await cluster.revokeVote(dead);
    await cluster.removeNode(dead);
    await cluster.grantVote('n4');
    const whole = await cluster.untilWhole();
    expect(votersOf(whole)).toHaveLength(3);
    expect(votersOf(whole)).toContain('n4');

    // Each loss needs the vote of the new node, and cluster.json still names the dead one.
    for (let loss = 0; loss < 2; loss++) {
      const before = await cluster.leader();
      const victim = before === 'n4' ? (await others(cluster))[0]! : before;
      const written = writer.acknowledged.length;
      await cluster.kill(victim);
      await until('another leads, and writes flow', async () => {
        const { leader } = await cluster.status();
        return leader !== null && leader !== victim && writer.acknowledged.length > written + 20;
      });
      await cluster.start(victim);
      await cluster.untilWhole();
    }
    if ((await cluster.leader()) !== 'n4') await cluster.switchover('n4');
    await cluster.untilWhole();
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
  }, 240_000);

  it('two of three founders go one after the other, and all agents restart with the old cluster.json', async () => {
    await using cluster = await startTestCluster();
    const writer = await startWriting(cluster);
    for (const name of ['n4', 'n5']) {
      await cluster.addNode(name);
      await untilItFollows(cluster, name);
      await cluster.grantVote(name);
    }
    await untilAllKnow(cluster, ['n1', 'n2', 'n3', 'n4', 'n5']);
    await cluster.untilWhole();
    if (!['n3', 'n4', 'n5'].includes(await cluster.leader())) await cluster.switchover('n4');
    await cluster.untilWhole();
    for (const name of ['n1', 'n2']) {
      await cluster.revokeVote(name);
      await cluster.removeNode(name);
    }
    await untilAllKnow(cluster, ['n3', 'n4', 'n5']);
    await cluster.untilWhole();
    await writer.stop();

    const names = cluster.nodes.map(({ name }) => name);
    expect(names).toEqual(['n3', 'n4', 'n5']);
    for (const name of names) await cluster.kill(name);
    for (const name of names) await cluster.start(name);
    expect(votersOf(await cluster.untilWhole())).toEqual(['n3', 'n4', 'n5']);
    expect(await missing(cluster, writer)).toEqual([]);
    await expectWritesToOutlive(cluster, await cluster.leader(), LATER_ROWS);
  }, 240_000);

  it('a voter that lost its folder gets a new vote, with no restart of anyone', async () => {
    await using cluster = await startTestCluster();
    const writer = await startWriting(cluster);
    const [lost = ''] = await others(cluster);
    const folder = join(cluster.folder, 'nodes', lost);
    await cluster.kill(lost);
    await rm(folder, { recursive: true });
    await cluster.start(lost);
    await until('it says how to go on', async () =>
      (await readFile(join(folder, 'agent.log'), 'utf8').catch(() => '')).includes(
        'lockstep node revoke-vote',
      ),
    );
    await giveNewVote(cluster, lost);
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
    const third = (await others(cluster)).find((name) => name !== lost) ?? '';
    await expectWritesToOutlive(cluster, third, LATER_ROWS);
  }, 240_000);

  it('refuses what would leave nobody able to agree, and changes nothing', async () => {
    await using cluster = await startTestCluster();
    const leader = await cluster.leader();
    const [first = '', second = ''] = await others(cluster);
    await expect(cluster.revokeVote(leader)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(cluster.grantVote(first)).rejects.toThrow(`${first} votes already`);
    await cluster.setPolicy({ followers: 2, degradeAfterMs: null });
    const removal = run(process.execPath, [
      main,
      'node',
      'remove',
      first,
      '--force',
      '--state',
      cluster.folder,
    ]);
    await expect(removal).rejects.toThrow('Synchronous commits wait for 2 followers');
    expect(votersOf(await cluster.status())).toHaveLength(3);
    await cluster.setPolicy({ followers: 1, degradeAfterMs: null });
    await cluster.kill(first);
    // The two that would be left would both have to agree.
    await expect(cluster.revokeVote(second)).rejects.toThrow(`${first} does not answer`);
    expect(votersOf(await cluster.status())).toHaveLength(3);
    await cluster.revokeVote(first);
    await untilAllKnow(cluster, [leader, second].toSorted());
    await expect(cluster.grantVote(first)).rejects.toThrow(`The agent of ${first} does not answer`);
    await until('its loss is seen', async () => {
      const { nodes } = await cluster.status();
      return nodes.find(({ name }) => name === first)?.state === 'unreachable';
    });
    await cluster.start(first);
    await untilItFollows(cluster, first);
    await cluster.grantVote(first);
    expect(votersOf(await cluster.untilWhole())).toHaveLength(3);
  }, 120_000);

  it.skipIf(ETCD === null)(
    'with etcd a third node gets a vote, so that a lost leader is suspected',
    async () => {
      await using etcd = await EtcdCluster.start({ members: 1 });
      await using cluster = await startTestCluster({
        nodes: 2,
        coordination: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/lockstep/' },
      });
      const writer = await startWriting(cluster);
      await cluster.addNode('n3');
      await untilItFollows(cluster, 'n3');
      await cluster.grantVote('n3');
      await untilAllKnow(cluster, ['n1', 'n2', 'n3']);
      await cluster.untilWhole();
      const leader = await cluster.leader();
      const written = writer.acknowledged.length;
      await cluster.kill(leader);
      await until('another leads, and writes flow', async () => {
        const status = await cluster.status();
        return (
          status.leader !== null && status.leader !== leader && writer.acknowledged.length > written + 20
        );
      });
      await writer.stop();
      expect(await missing(cluster, writer)).toEqual([]);
    },
    120_000,
  );
});

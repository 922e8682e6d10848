import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { untilOnlyAVoteIsMissing } from './missing-vote.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';

describe('a node whose folder was lost', () => {
  it('follows again without a vote, until a person gives it one', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const leader = await cluster.leader();
    const [lost = '', other = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
    const folder = join(cluster.folder, 'nodes', lost);
    await cluster.kill(lost);
    await rm(folder, { recursive: true });
    await cluster.start(lost);
    await untilOnlyAVoteIsMissing(cluster, lost);
    await until('it says so', async () =>
      (await readFile(join(folder, 'agent.log'), 'utf8')).includes('This node does not vote'),
    );

    // Its vote would make a majority with the leader's.
    await cluster.kill(other);
    await until('nobody leads', async () => (await cluster.status()).leader === null);
    expect(await readFile(join(folder, 'consensus.json'), 'utf8')).toContain('"isAdmitted":false');

    await cluster.start(other);
    await untilOnlyAVoteIsMissing(cluster, lost);
    await cluster.kill(lost);
    await writeFile(join(folder, 'vote-anew'), '');
    await cluster.start(lost);
    await cluster.untilWhole();
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 20);
    const nowLeads = await cluster.leader();
    await cluster.kill(nowLeads === other ? leader : other);
    const before = writer.acknowledged.length;
    await until('writes flow with its vote', () => writer.acknowledged.length > before + 100);
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
    await expect(readFile(join(folder, 'vote-anew'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

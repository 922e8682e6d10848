import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { expectWritesToOutlive, giveNewVote, untilOnlyAVoteIsMissing } from './missing-vote.ts';
import { onLeader } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';

describe('a node whose folder was lost', () => {
  it('follows again without a vote, and a person says what is true when a majority lost theirs', async () => {
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

    const said = `the vote of ${lost} does not count (it does not vote yet, or has lost its vote)`;
    const command = (...words: readonly string[]): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, [CLI, ...words, '--state', cluster.folder]);
    expect((await command('node', 'list')).stdout).toContain(`votes  ${said}`);
    await expect(command('node', 'grant-vote', lost)).rejects.toMatchObject({
      stderr: expect.stringContaining(
        `${lost} has a vote already, and ${said}. Where it is lost for good, revoke`,
      ),
    });

    // Neither another vote nor --force would help.
    for (const words of [[leader], [leader, '--force']]) {
      await expect(command('node', 'remove', ...words)).rejects.toMatchObject({
        stderr: `lockstep: ${leader} leads. Hand the leadership over first ("lockstep switchover"), then remove it. Nothing was changed.\n`,
      });
    }

    // Its vote would make a majority with the leader's.
    await cluster.kill(other);
    await until('nobody leads', async () => (await cluster.status()).leader === null);
    expect(await readFile(join(folder, 'consensus.json'), 'utf8')).toContain('"isAdmitted":false');
    for (const words of [
      ['restart', lost],
      ['node', 'remove', lost],
    ]) {
      await expect(command(...words)).rejects.toMatchObject({
        stderr: expect.stringMatching(
          /^lockstep: Do what "lockstep status" says.*nobody leads.*Nothing was changed\.$/m,
        ),
      });
    }

    // Of three, two have lost their votes now: only a person can say that what the third knows is the truth.
    await rm(join(cluster.folder, 'nodes', other), { recursive: true });
    for (const name of [leader, lost]) await cluster.kill(name);
    await writeFile(join(folder, 'vote-anew'), '');
    for (const name of [leader, lost, other]) await cluster.start(name);
    await giveNewVote(cluster, other);
    await expectWritesToOutlive(cluster, leader);
    await expect(readFile(join(folder, 'vote-anew'))).rejects.toMatchObject({ code: 'ENOENT' });
  }, 180_000);
});

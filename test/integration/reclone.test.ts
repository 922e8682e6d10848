import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';
import { CLI } from './server-machine.ts';
import { until } from './fixture.ts';

describe('lockstep node reclone', () => {
  it('copies a follower anew while an app writes, loses nothing, and refuses the leader', async () => {
    await using cluster = await startTestCluster({ nodes: 2, witness: true });
    const leader = await cluster.leader();
    const { name = '', folder = '' } = cluster.nodes.find((node) => node.name !== leader) ?? {};
    const run = (...words: string[]): { readonly status: number | null; readonly said: string } => {
      const place = ['--config', join(cluster.folder, 'cluster.json')];
      const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'node', ...words, ...place], {
        encoding: 'utf8',
      });
      return { status, said: stdout + stderr };
    };
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 20);

    const before = await stat(join(folder, 'data'));
    // Nobody else acknowledges here: the witness has no data.
    expect(run('reclone', name)).toMatchObject({
      status: 1,
      said: expect.stringMatching(
        /^lockstep: Start another follower first, .* until \S+ has its copy: .*, and 0 are left/,
      ),
    });
    expect((await stat(join(folder, 'data'))).ino).toBe(before.ino);
    const copied = run('reclone', name, '--force');
    expect(copied.said).toContain(`synchronous commits wait until ${name} has its copy`);
    expect(copied).toMatchObject({ status: 0, said: expect.stringContaining(`${name} follows.`) });
    const after = await stat(join(folder, 'data'));
    expect(after.ino).not.toBe(before.ino);
    expect(after.uid).toBe(before.uid);

    // A folder that takes the place of one that is gone may have its number.
    const old = join(folder, 'data', 'of_the_old_data');
    await writeFile(old, '');
    expect(run('reclone', name, '--discard-data', '--force')).toMatchObject({ status: 0 });
    expect(existsSync(old)).toBe(false);
    expect(run('reclone', leader)).toMatchObject({
      status: 1,
      said: expect.stringMatching(/^lockstep: Hand the leadership over first/),
    });
    expect(run('reclone', 'w1')).toMatchObject({
      status: 1,
      said: expect.stringContaining('it has no data'),
    });

    const count = writer.acknowledged.length;
    await until('synchronous writes flow', () => writer.acknowledged.length > count + 20);
    await cluster.untilWhole();
    await writer.stop();
    await cluster.kill(leader);
    await until('the copy leads', async () => (await cluster.status()).leader === name);
    expect(await missing(cluster, writer)).toEqual([]);
  });
});

import { execFile } from 'node:child_process';
import { mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { RescueList } from '../../src/leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../src/leader-follower/delayed/rescue.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import { until } from './fixture.ts';
import { onLeader } from './numbered-writes.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');
const binaries = await findPostgres();
const isPossible = process.getuid?.() === 0 && process.platform === 'linux' && binaries.pgWaldump !== null;

/** Not a byte is left; PostgreSQL and the agent go on writing meanwhile. */
async function fill(disk: string): Promise<void> {
  const { bavail, bsize } = await statfs(disk);
  await run('fallocate', ['-l', String(Math.max(bsize, bavail * bsize - 1_048_576)), join(disk, 'ballast')]);
  const file = await open(join(disk, 'ballast'), 'a');
  try {
    for (;;) await file.write(Buffer.alloc(65_536));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    await file.close();
  }
}

test.skipIf(!isPossible)(
  'a full disk of the delayed node is said in a sentence, and opens again once it has room',
  async () => {
    await using cluster = await startTestCluster();
    const disk = join(cluster.folder, 'nodes', 'n9');
    await mkdir(disk, { mode: 0o755 });
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1g,mode=0755', 'tmpfs', disk]);
    try {
      const rescue = async <T>(...args: readonly string[]): Promise<T> => {
        const words = [main, 'rescue', ...args, '--json', '--state', cluster.folder, '--node', 'n9'];
        const { stdout } = await run(process.execPath, words, { maxBuffer: 64_000_000 });
        return JSON.parse(stdout) as T;
      };
      const refusal = (...args: readonly string[]): Promise<string> =>
        rescue(...args).then(
          () => Promise.reject(new Error('it did not refuse')),
          (error: unknown) => (error as { stderr: string }).stderr.trim().split('\n').at(-1) ?? '',
        );
      await onLeader(cluster, (client) => client.query('CREATE TABLE notes (id int PRIMARY KEY, text text)'));
      await cluster.addNode('n9', { delay: '10min' });
      await until('n9 follows', async () => {
        const node = (await cluster.status()).nodes.find(({ name }) => name === 'n9');
        return node?.role === 'follower' && node.state === 'running' && node.detail === null;
      });
      // More than one segment, so that rolling forward needs room.
      await onLeader(cluster, async (client) => {
        for (let part = 0; part < 8; part += 1)
          await client.query(
            `INSERT INTO notes SELECT n, repeat(md5(n::text), 30) FROM generate_series(${part * 10_000}, ${part * 10_000 + 9_999}) AS n`,
          );
        await client.query('UPDATE notes SET text = NULL');
      });
      const mistake = await until('the mistake is in the log', async () => {
        const { transactions } = await rescue<RescueList>('list');
        return transactions.find(({ dangers }) => dangers.length > 0) ?? null;
      });
      expect(mistake.replaysAt).toBe(new Date(Date.parse(mistake.at) + 600_000).toISOString());

      await fill(disk);
      const said =
        /[Ff]ree some space on the disk of .*n9, which has \d+ MB left, and open again\. Nothing was changed/;
      expect(await refusal('open', '--before', String(mistake.xid))).toMatch(said);
      expect(await rescue('status')).toMatchObject({ phase: 'idle', target: null });

      // A disk that fills up on the way: a few segments fit.
      await rm(join(disk, 'ballast'));
      await run('fallocate', ['-l', String((await roomOf(disk)) - 24 * 1_048_576), join(disk, 'ballast')]);
      expect(await refusal('open', '--before', String(mistake.xid))).toMatch(said);
      expect(await rescue<RescueStatus>('status')).toMatchObject({ phase: 'held' });
      await rm(join(disk, 'ballast'));
      await rescue('open', '--before', String(mistake.xid));
      expect(await rescue('diff', 'notes')).toMatchObject([{ missing: 0, changed: 80_000, touchedSince: 0 }]);
      await rescue('restore', 'notes', '--yes');
      const left = await onLeader(cluster, (client) =>
        client.query<{ count: string }>('SELECT count(*) AS count FROM notes WHERE text IS NULL'),
      );
      expect(left.rows).toEqual([{ count: '0' }]);
    } finally {
      await cluster.kill('n9').catch(() => undefined);
      await run('umount', ['-l', disk]);
    }
  },
  300_000,
);

async function roomOf(disk: string): Promise<number> {
  const { bavail, bsize } = await statfs(disk);
  return bavail * bsize;
}

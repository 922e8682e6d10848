import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { expect, test } from 'vitest';
import { signalProcessTree } from '../../src/cli/dev/process-tree.ts';
import type { RescueList } from '../../src/leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../src/leader-follower/delayed/rescue.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import { until } from './fixture.ts';
import { onLeader } from './numbered-writes.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');
const { pgWaldump } = await findPostgres();

test.skipIf(pgWaldump === null)(
  'a delayed PostgreSQL that hangs while a rescue opens is on hold when it wakes, as its status says',
  async () => {
    await using cluster = await startTestCluster({ delayed: '1h' });
    const name = 'n4';
    const { folder, dsn } = cluster.nodes.find((node) => node.name === name)!;
    const rescue = async <T>(...args: readonly string[]): Promise<T> => {
      const words = [main, 'rescue', ...args, '--json', '--state', cluster.folder, '--node', name];
      return JSON.parse((await run(process.execPath, words)).stdout) as T;
    };
    const hasDelay = (delay: string): Promise<unknown> =>
      until(`it runs with ${delay}`, async () => {
        const client = new pg.Client({ connectionString: dsn });
        await client.connect();
        try {
          const { rows } = await client.query<{ setting: string }>(
            "SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'",
          );
          return rows[0]?.setting === delay;
        } finally {
          await client.end();
        }
      });
    await onLeader(cluster, async (client) => {
      await client.query('CREATE TABLE notes AS SELECT n AS id FROM generate_series(1, 100) AS n');
      await client.query('DELETE FROM notes');
    });
    const mistake = await until('the mistake is in the log', async () => {
      const { transactions } = await rescue<RescueList>('list');
      return transactions.find(({ dangers }) => dangers.length > 0) ?? null;
    });

    const postmaster = Number.parseInt(await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8'), 10);
    await signalProcessTree(postmaster, 'SIGSTOP');
    try {
      await expect(rescue('open', '--before', String(mistake.xid))).rejects.toThrow();
    } finally {
      await signalProcessTree(postmaster, 'SIGCONT');
    }
    expect(await rescue<RescueStatus>('status')).toMatchObject({ phase: 'held' });
    await hasDelay('2147483647');

    await rescue('close');
    expect(await rescue<RescueStatus>('status')).toMatchObject({ phase: 'idle' });
    await hasDelay('3600000');
  },
);

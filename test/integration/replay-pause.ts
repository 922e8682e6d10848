import pg from 'pg';
import type { LockstepPool } from '../../src/index.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

/** Replay stands still until it is told to go on, or this is disposed of. */
export interface ReplayPause extends AsyncDisposable {
  resume(): Promise<void>;
}

/**
 * Stops replay on every node but the leader: each has a reader of the table `brake`, which is there and empty, the leader
 * then truncates it through `pool`, and replay waits for the reader.
 */
export async function pauseReplay(cluster: TestCluster, pool: LockstepPool): Promise<ReplayPause> {
  const leader = await cluster.leader();
  const readers: pg.Client[] = [];
  for (const { name, dsn } of cluster.nodes) {
    if (name === leader) continue;
    const reader = new pg.Client(dsn);
    // PostgreSQL ends it when a test leaves replay waiting for too long.
    reader.on('error', () => undefined);
    await reader.connect();
    readers.push(reader);
    await until('the table on the follower', async () => {
      const { rows } = await reader.query(`SELECT to_regclass('brake') IS NOT NULL AS exists`);
      return rows[0].exists as boolean;
    });
    await reader.query('BEGIN');
    await reader.query('SELECT FROM brake');
  }
  await pool.query({ text: 'TRUNCATE brake', durability: 'sync' });
  const resume = async (): Promise<void> => {
    await Promise.all(readers.splice(0).map((reader) => reader.end()));
  };
  return { resume, [Symbol.asyncDispose]: resume };
}

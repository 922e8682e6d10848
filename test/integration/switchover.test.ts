import { Client } from 'pg';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';

describe('switchover', () => {
  it('loses no acknowledged write of any level in 20 in a row', { timeout: 240_000 }, async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writers = (['off', 'local', 'on', 'remote_apply'] as const).map(
      (level, index) => new Writer(cluster, level, (index + 1) * 1_000_000),
    );
    for (const writer of writers) writer.start();
    const pausesMs: number[] = [];
    for (let round = 0; round < 20; round++) {
      const before = writers.map((writer) => writer.acknowledged.length);
      await until('writes of every level flow', () =>
        writers.every((writer, index) => writer.acknowledged.length > (before[index] ?? 0) + 10),
      );
      await cluster.untilWhole();
      pausesMs.push((await cluster.switchover()).pausedMs);
    }
    await cluster.untilWhole();
    for (const writer of writers) await writer.stop();
    const sorted = pausesMs.toSorted((a, b) => a - b);
    console.log(`writes paused for ${sorted[10]} ms (median), ${sorted.at(-1)} ms (longest)`);
    for (const writer of writers) expect(await missing(cluster, writer)).toEqual([]);
  });

  it('hands over near the beginning of a log segment, of which followers get all again', async () => {
    await using cluster = await startTestCluster();
    const count = await onLeader(cluster, async (client) => {
      await client.query('CREATE TABLE filled (text text)');
      // Well past a quarter of the segment.
      for (let rows = 0; ; rows += 200) {
        const filled = await offsetInSegment(client);
        if (filled > 1.5 * 1_048_576) return rows;
        await client.query(
          'INSERT INTO filled SELECT repeat(md5(i::text), 30) FROM generate_series(1, 200) AS i',
        );
      }
    });
    const filled = await onLeader(cluster, offsetInSegment);
    await cluster.untilWhole();
    await cluster.switchover();
    expect(await onLeader(cluster, offsetInSegment)).toBeLessThan(filled / 2);
    const { rows } = await onLeader(cluster, (client) => client.query('SELECT count(*)::int FROM filled'));
    expect(rows).toEqual([{ count }]);
  });
});

describe('a switchover and transactions', () => {
  it('lets those end that began before, refuses others to write, and does not wait for ever', async () => {
    await using cluster = await startTestCluster();
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const leader = await cluster.leader();
    const dsn = cluster.nodes.find(({ name }) => name === leader)?.dsn;
    const clients = [new Client(dsn), new Client(dsn), new Client(dsn)] as const;
    for (const client of clients) {
      client.on('error', () => undefined);
      await client.connect();
    }
    const [ending, late, endless] = clients;
    try {
      for (const [index, client] of [ending, endless].entries()) {
        await client.query('BEGIN');
        await client.query('INSERT INTO written VALUES ($1)', [index]);
      }
      const switchover = cluster.switchover();
      await until('the leader hands over', async () => {
        const { rows } = await late.query('SHOW default_transaction_read_only');
        return rows[0].default_transaction_read_only === 'on';
      });
      await expect(late.query('INSERT INTO written VALUES (2)')).rejects.toMatchObject({ code: '25006' });
      await ending.query('COMMIT');
      await switchover;
      await expect(endless.query('COMMIT')).rejects.toThrow();
    } finally {
      await Promise.all(clients.map((client) => client.end()));
    }
    const { rows } = await onLeader(cluster, (client) => client.query('SELECT id FROM written'));
    expect(rows).toEqual([{ id: 0 }]);
    // It takes writes again when it leads again.
    await cluster.untilWhole();
    await cluster.switchover(leader);
    await onLeader(cluster, (client) => client.query('INSERT INTO written VALUES (3)'));
  });
});

async function offsetInSegment(client: Client): Promise<number> {
  const { rows } = await client.query<{ file_offset: number }>(
    'SELECT file_offset FROM pg_walfile_name_offset(pg_current_wal_lsn())',
  );
  return rows[0]?.file_offset ?? 0;
}

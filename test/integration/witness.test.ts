import { access } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, onLeader, Writer } from './numbered-writes.ts';

async function untilAnotherLeads(cluster: TestCluster, old: string): Promise<void> {
  await until('another leads', async () => {
    const { leader } = await cluster.status();
    return leader !== null && leader !== old;
  });
}

describe('two nodes and a witness', () => {
  it('survive the loss of the leader without losing an acknowledged synchronous commit, and take it back', async () => {
    await using cluster = await startTestCluster({ nodes: 2, witness: true });
    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const synchronous = new Writer(cluster);
    synchronous.start();
    await until('writes flow', () => synchronous.acknowledged.length > 50);
    const old = await cluster.leader();
    await cluster.kill(old);
    await untilAnotherLeads(cluster, old);
    // Nothing is left that a synchronous commit could wait for; those that need none go on.
    const local = new Writer(cluster, 'local', 1_000_000);
    local.start();
    await until('writes flow again', () => local.acknowledged.length > 20);
    await cluster.start(old);
    await cluster.untilWhole();
    const before = synchronous.acknowledged.length;
    await until('synchronous writes flow again', () => synchronous.acknowledged.length > before + 20);
    await Promise.all([synchronous.stop(), local.stop()]);
    expect(await missing(cluster, synchronous)).toEqual([]);
    expect(await missing(cluster, local)).toEqual([]);
  });

  it('go on without the witness, and the witness holds nothing but its vote', async () => {
    await using cluster = await startTestCluster({ nodes: 2, witness: true });
    const folder = join(cluster.folder, 'nodes', 'w1');
    await access(join(folder, 'consensus.json'));
    await expect(access(join(folder, 'data'))).rejects.toMatchObject({ code: 'ENOENT' });
    const { nodes, leader } = await cluster.status();
    expect(nodes.find(({ name }) => name === 'w1')).toMatchObject({
      kind: 'witness',
      role: 'unknown',
      state: 'running',
      sync: false,
      timeline: null,
    });
    const slots = await onLeader(cluster, (client) =>
      client.query<{ name: string }>('SELECT slot_name AS name FROM pg_replication_slots'),
    );
    expect(slots.rows).toHaveLength(1);
    await expect(cluster.switchover('w1')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });

    await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
    const writer = new Writer(cluster);
    writer.start();
    await until('writes flow', () => writer.acknowledged.length > 20);
    await cluster.kill('w1');
    const before = writer.acknowledged.length;
    await until('writes flow on', () => writer.acknowledged.length > before + 200);
    expect(await cluster.leader()).toBe(leader);
    await cluster.start('w1');
    await cluster.untilWhole();
    await writer.stop();
    expect(await missing(cluster, writer)).toEqual([]);
  });

  it('stop writing when the leader is alone', async () => {
    await using cluster = await startTestCluster({ nodes: 2, witness: true });
    const leader = await cluster.leader();
    const other = cluster.nodes.find(({ name }) => name !== leader)?.name ?? '';
    const dsn = cluster.nodes.find(({ name }) => name === leader)?.dsn ?? '';
    await Promise.all([cluster.kill(other), cluster.kill('w1')]);
    await until('nothing is acknowledged any more', async () => {
      const client = new pg.Client({
        connectionString: dsn,
        connectionTimeoutMillis: 1_000,
        query_timeout: 1_000,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.query('SET synchronous_commit = local');
        await client.query('CREATE TEMP TABLE written (id int)');
        return false;
      } catch {
        return true;
      } finally {
        await client.end().catch(() => undefined);
      }
    });
    await cluster.start('w1');
    expect(await cluster.leader()).toBe(leader);
  });
});

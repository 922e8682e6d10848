import { describe, expect, test } from 'vitest';
import { ETCD, EtcdCluster, NEEDS_ETCD, newPrefix } from './etcd-cluster.ts';
import { until } from './fixture.ts';

describe.skipIf(ETCD === null)(NEEDS_ETCD, () => {
  test('a watch goes on after a compaction of what it missed', async () => {
    await using etcd = await EtcdCluster.start();
    const prefix = newPrefix();
    const [writer, watcher] = [etcd.participant({ prefix }), etcd.participant({ prefix })];
    const versions: number[] = [];
    await writer.compareAndSet('k', 0, 1);
    watcher.watch('k', ({ version }) => versions.push(version));
    await until('the watch began', () => versions.length === 1);
    // Each round: the stream breaks, and what came meanwhile is compacted before it can go on.
    for (let version = 1; version < 4; version++) {
      await etcd.kill(0);
      await etcd.restart(0);
      await writer.compareAndSet('k', version, version + 1);
      await etcd.etcdctl(0, 'put', 'other', String(version));
      await etcd.compact();
      await until('the watch told it', () => versions.at(-1) === version + 1);
    }
    expect(versions).toEqual([1, 2, 3, 4]);
  });

  test('a watch of a register that is not there yet begins behind a compaction', async () => {
    await using etcd = await EtcdCluster.start();
    for (const value of ['1', '2', '3']) await etcd.etcdctl(0, 'put', 'other', value);
    await etcd.compact();
    const participant = etcd.participant({ prefix: newPrefix() });
    const told: unknown[] = [];
    participant.watch('k', ({ value }) => told.push(value));
    await until('it was created', async () => {
      const result = await participant.compareAndSet('k', 0, 'x');
      return result.kind === 'applied';
    });
    await until('the watch told it', () => told.length === 1);
    expect(told).toEqual(['x']);
  });

  test('a watch whose member is suspended learns what others answer', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    const prefix = newPrefix();
    const follower = ((await etcd.leader()) + 1) % 3;
    const endpoints = [etcd.endpoints[follower]!, ...etcd.endpoints.filter((_, i) => i !== follower)];
    const watcher = etcd.participant({ prefix, endpoints, timeouts: { watchCheckMs: 400 } });
    const writer = etcd.participant({ prefix, endpoints: endpoints.slice(1) });
    await writer.compareAndSet('k', 0, 'x');
    const told: unknown[] = [];
    watcher.watch('k', ({ value }) => told.push(value));
    await until('the watch began', () => told.length === 1);
    etcd.pause(follower);
    await writer.compareAndSet('k', 1, 'y');
    await until('the watch told it', () => told.at(-1) === 'y', 3_000);
    await writer.compareAndSet('k', 2, 'z');
    await until('the watch goes on', () => told.at(-1) === 'z', 3_000);
  });
});

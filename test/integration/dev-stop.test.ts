import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, it } from 'vitest';
import { nodeFolder, readClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { readControlFile } from '../../src/postgres/control-file.ts';
import type { ControlFile } from '../../src/postgres/control-file.ts';
import { freePort, until } from './fixture.ts';
import { ServerMachine } from './server-machine.ts';

/** Of the log of a cluster that Lockstep founds. */
const SEGMENT_BYTES = 4n * 1_048_576n;

it('a local cluster that is stopped leaves nothing on the leader alone, also what waits for no follower', async () => {
  await using machine = await ServerMachine.create();
  const state = join(machine.folder, 'dev');
  const dev = machine.run(['dev', '--state', state, '--dashboard-port', String(await freePort())]);
  await until('it is ready', () => dev.hasEnded || dev.printed.includes('cluster ready'), 120_000);
  expect(dev.printed).toContain('cluster ready');

  const config = await readClusterConfig(join(state, 'cluster.json'));
  const client = await connectToLeader(config);
  await client.query('CREATE TABLE written (n int); SET synchronous_commit = local');
  let written = 0;
  const writing = (async () => {
    for (;;) {
      await client.query('INSERT INTO written VALUES ($1)', [written]);
      written++;
    }
  })().catch(() => undefined);
  await until('it writes', () => written > 50);

  expect(await dev.stop('SIGINT')).toBe(0);
  await writing;
  const folders = config.nodes.map(({ name }) => join(nodeFolder(state, name), 'data'));
  const ends = await Promise.all(folders.map((folder) => readControlFile(folder)));
  const [led, ...others] = ends.filter((end) => end?.state === 'shut down');
  expect(others).toEqual([]);
  if (led == null) throw new Error('no leader ended in order');
  // Its end is the checkpoint, the last record of its log.
  const records = await Promise.all(folders.map((folder) => readRecord(folder, led)));
  expect(records.map((record) => record.equals(records[0] ?? Buffer.alloc(0)))).toEqual([true, true, true]);
  expect(records[0]?.every((byte) => byte === 0)).toBe(false);
});

/** The newest checkpoint's record, as it is on a node's disk. */
async function readRecord(dataDir: string, { checkpoint, checkpointTimeline }: ControlFile): Promise<Buffer> {
  const segment = [BigInt(checkpointTimeline), checkpoint >> 32n, (checkpoint & 0xffffffffn) / SEGMENT_BYTES];
  const name = segment.map((part) => part.toString(16).toUpperCase().padStart(8, '0')).join('');
  const log = await readFile(join(dataDir, 'pg_wal', name));
  const offset = Number(checkpoint % SEGMENT_BYTES);
  return log.subarray(offset, offset + 100);
}

async function connectToLeader({ nodes, secrets }: ClusterConfig): Promise<pg.Client> {
  for (const { host, port } of nodes) {
    const client = new pg.Client({
      host,
      port,
      user: 'lockstep',
      password: secrets.superuser,
      database: 'postgres',
    });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query<{ follows: boolean }>('SELECT pg_is_in_recovery() AS follows');
    if (rows[0]?.follows === false) return client;
    await client.end();
  }
  throw new Error('nobody leads');
}

import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster, TestNode } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

const run = promisify(execFile);
const system = await findPostgres('system').catch(() => null);

function nodeOf(cluster: TestCluster, name: string): TestNode {
  const node = cluster.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) throw new Error(`no node ${name}`);
  return node;
}

async function query(dsn: string, texts: readonly string[]): Promise<pg.QueryResult | undefined> {
  const client = new pg.Client({ connectionString: dsn });
  client.on('error', () => undefined);
  await client.connect();
  try {
    let result: pg.QueryResult | undefined;
    for (const text of texts) result = await client.query(text);
    return result;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Three commits that only the leader has: its followers are dead when it makes them, it dies after, and they
 * come back without it. Returns the old leader's name, running again.
 */
async function loseThreeCommits(cluster: TestCluster): Promise<string> {
  const old = await cluster.leader();
  const others = cluster.nodes.filter(({ name }) => name !== old);
  const { dsn } = nodeOf(cluster, old);
  // A new cluster may be whole some moments before its commits wait for a follower.
  await until('commits wait for a follower', async () => {
    const shown = await query(dsn, ['SHOW synchronous_standby_names']);
    return shown?.rows[0]?.synchronous_standby_names !== '';
  });
  await query(dsn, [
    'CREATE TABLE orders (id bigint PRIMARY KEY, what text)',
    `INSERT INTO orders VALUES (1, 'kept')`,
  ]);
  const client = new pg.Client({ connectionString: dsn });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('SET synchronous_commit = local');
  await Promise.all(others.map(({ name }) => cluster.kill(name)));
  await client.query(`INSERT INTO orders VALUES (9007199254740993, 'lost ''one''')`);
  await client.query(`BEGIN; SAVEPOINT a; INSERT INTO orders VALUES (3, 'lost two'); RELEASE a; COMMIT`);
  await client.query(`UPDATE orders SET what = 'lost three' WHERE id = 1`);
  await client.query(`BEGIN; INSERT INTO orders VALUES (5, 'never committed'); ROLLBACK`);
  await cluster.kill(old);
  await client.end().catch(() => undefined);
  for (const { name } of others) await cluster.start(name);
  const leader = await cluster.leader();
  await until('the new leader writes', () =>
    query(nodeOf(cluster, leader).dsn, [`INSERT INTO orders VALUES (6, 'later')`]).then(() => true),
  );
  await cluster.start(old);
  await cluster.untilWhole(60_000);
  return old;
}

async function savedFolder(node: TestNode): Promise<string> {
  const root = join(node.folder, 'lost');
  const names = await readdir(root);
  expect(names).toHaveLength(1);
  return join(root, names[0] ?? '');
}

async function orders(cluster: TestCluster, node: string): Promise<unknown[]> {
  const result = await query(nodeOf(cluster, node).dsn, ['SELECT id, what FROM orders ORDER BY id']);
  return result?.rows ?? [];
}

const KEPT = [
  { id: '1', what: 'kept' },
  { id: '6', what: 'later' },
];

describe.skipIf(system === null)('a former leader with commits that nobody else has', () => {
  it('rejoins by pg_rewind, with the commits and their rows put aside', async () => {
    await using cluster = await startTestCluster({ postgres: 'system' });
    const old = await loseThreeCommits(cluster);
    expect(await orders(cluster, old)).toEqual(KEPT);
    const folder = await savedFolder(nodeOf(cluster, old));
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as {
      forkLsn: string;
      endLsn: string;
      timeline: number;
      segments: string[];
    };
    expect(manifest).toMatchObject({
      node: old,
      commits: 3,
      missingSegments: [],
      rowsSaved: 3,
      rowsCutOff: false,
      tables: [{ table: 'app.public.orders', inserted: 2, updated: 1, deleted: 0 }],
    });
    const rows = (await readFile(join(folder, 'rows.jsonl'), 'utf8')).trim().split('\n');
    expect(rows.map((line) => line.slice(line.indexOf('"row":'))).toSorted()).toEqual([
      `"row":{"id": 1, "what": "lost three"}}`,
      `"row":{"id": 3, "what": "lost two"}}`,
      `"row":{"id": 9007199254740993, "what": "lost 'one'"}}`,
    ]);
    const listed = (await readFile(join(folder, 'commits.txt'), 'utf8')).trim().split('\n');
    expect(listed).toHaveLength(3);
    expect(listed[0]).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ UTC {2}[0-9A-F]+\/[0-9A-F]+ {2}xid \d+ {2}commit$/,
    );
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    // The segments by themselves tell the same, to PostgreSQL's own tool.
    const printed = await run(join(system?.binDir ?? '', 'pg_waldump'), [
      `--path=${folder}`,
      `--timeline=${manifest.timeline}`,
      `--start=${manifest.forkLsn}`,
      `--end=${manifest.endLsn}`,
      '--rmgr=Transaction',
    ]).catch((error: { stdout: string }) => error);
    expect(printed.stdout.match(/desc: COMMIT /g)).toHaveLength(3);
    const log = await readFile(join(nodeOf(cluster, old).folder, 'agent.log'), 'utf8');
    expect(log).toMatch(/lost-writes.*3 commits past/);
    expect(log).toMatch(/rewound to/);
  });

  it('is copied anew where pg_rewind fails, with the commits put aside all the same', async () => {
    const wrapper = await mkdtemp(join(tmpdir(), 'lockstep-bin-'));
    try {
      await chmod(wrapper, 0o755);
      for (const name of await readdir(system?.binDir ?? '')) {
        if (name !== 'pg_rewind') await symlink(join(system?.binDir ?? '', name), join(wrapper, name));
      }
      const script = '#!/bin/sh\necho "pg_rewind: error: broken on purpose" >&2\nexit 1\n';
      await writeFile(join(wrapper, 'pg_rewind'), script, { mode: 0o755 });
      await using cluster = await startTestCluster({ postgres: wrapper });
      const old = await loseThreeCommits(cluster);
      expect(await orders(cluster, old)).toEqual(KEPT);
      const folder = await savedFolder(nodeOf(cluster, old));
      expect(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))).toMatchObject({ commits: 3 });
      const log = await readFile(join(nodeOf(cluster, old).folder, 'agent.log'), 'utf8');
      expect(log).toMatch(/pg_rewind failed \(pg_rewind: error: broken on purpose\)/);
      expect(log).toMatch(/copied n\d/);
      expect(await readdir(nodeOf(cluster, old).folder)).not.toContain('data.broken');
    } finally {
      await rm(wrapper, { recursive: true, force: true });
    }
  });
});

describe("a former leader without PostgreSQL's tools", () => {
  it('is copied anew, with its log put aside', async () => {
    await using cluster = await startTestCluster({ postgres: 'embedded' });
    const old = await loseThreeCommits(cluster);
    expect(await orders(cluster, old)).toEqual(KEPT);
    const folder = await savedFolder(nodeOf(cluster, old));
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as {
      segments: string[];
    };
    expect(manifest).toMatchObject({ commits: null, rowsSaved: null, missingSegments: [] });
    expect(manifest.segments.length).toBeGreaterThan(0);
    for (const name of manifest.segments) {
      expect((await readFile(join(folder, name))).includes(Buffer.from('lost two'))).toBe(
        name === manifest.segments.at(-1),
      );
    }
  });
});

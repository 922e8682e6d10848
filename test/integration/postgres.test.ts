import { appendFile, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from 'pg';
import { describe, expect, it } from 'vitest';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { newestTimeline, readSystemIdentifier, readTimelineHistory } from '../../src/postgres/data-folder.ts';
import { machineClock } from '../../src/clock/machine-clock.ts';
import { untilNewProcess } from '../../src/postgres/new-process.ts';
import { probe } from '../../src/postgres/probe.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { DamageReader } from '../../src/postgres/server-log.ts';
import { rewindDataFolder } from '../../src/postgres/copy/rewind.ts';
import { advanceSlot, createSlot, dropSlot, readSlots } from '../../src/postgres/slots.ts';
import { formatLsn } from '../../src/model/lsn.ts';
import { isSharedHistory, nextTimeline } from '../../src/model/timeline.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

const system = await findPostgres('system').catch(() => null);
const embedded = await findPostgres('embedded').then(async (found) =>
  reachableBinaries(found, await resolveAccount()),
);
const builds = [...(system === null ? [] : [system]), embedded];

describe.each(builds)('one server of PostgreSQL $version ($source)', (binaries) => {
  it('is created, promoted, cloned, followed, and its follower promoted in turn', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const [portA, portB] = [await freePort(), await freePort()];
    await fixture.initialize('a');
    const a = await fixture.start('a', portA);
    await a.promote(10_000);
    const clientA = await a.connect();
    await createSlot(clientA, 'b');
    await clientA.query('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)');
    const onLeader = await probe(clientA);
    expect(onLeader).toMatchObject({ isInRecovery: false, timeline: 2, replayAgeMs: 0 });
    await expectToldToAll(a, portA);

    const progress: number[] = [];
    await takeBaseBackup({
      source: fixture.address(portA),
      dataDir: fixture.dataDir('b'),
      account: fixture.account,
      onProgress: ({ doneBytes }) => progress.push(doneBytes),
    });
    // The server tells at most once a second, and at the end.
    expect(progress.at(-1)).toBeGreaterThan(1_000_000);
    expect(await readSystemIdentifier(fixture.dataDir('b'))).toBe(
      await readSystemIdentifier(fixture.dataDir('a')),
    );

    const b = await fixture.start('b', portB, portA);
    const clientB = await b.connect();
    await until('b streams', async () => (await probe(clientB)).isReceiving);
    await clientA.query('INSERT INTO t VALUES (5000)');
    await until(
      'the row arrives',
      async () => (await clientB.query('SELECT 1 FROM t WHERE id = 5000')).rowCount === 1,
    );
    expect((await probe(clientA)).followers).toMatchObject([{ name: 'b', isStreaming: true }]);
    expect(await probe(clientB)).toMatchObject({ isInRecovery: true, timeline: 2, isReceiving: true });

    // A copy has none of its source's slots; a follower may hold some of its own, moved as others get on.
    expect(await readSlots(clientB)).toMatchObject({ isInRecovery: true, slots: [] });
    await createSlot(clientB, 'c');
    await createSlot(clientB, 'd');
    await clientA.query('INSERT INTO t SELECT generate_series(6000, 7000); CHECKPOINT');
    await until('b has replayed the checkpoint', async () => {
      const [on, of] = [await probe(clientB), await probe(clientA)];
      return on.replayedLsn >= of.receivedLsn;
    });
    await clientB.query('CHECKPOINT');
    const { slots: behind, redoLsn } = await readSlots(clientB);
    expect(behind.map(({ restartLsn }) => restartLsn !== null && restartLsn < redoLsn)).toEqual([true, true]);
    await advanceSlot(clientB, 'c', redoLsn);
    await dropSlot(clientB, 'd');

    await a.stop('immediate');
    await b.promote(10_000);
    const promoted = await probe(clientB);
    expect(promoted).toMatchObject({ isInRecovery: false, timeline: 3 });
    expect((await readSlots(clientB)).slots).toEqual([
      { follower: 'c', isActive: false, isLost: false, restartLsn: redoLsn },
    ]);
    const history = await readTimelineHistory(fixture.dataDir('b'), promoted.timeline);
    expect(history.ancestors.map((ancestor) => ancestor.timeline)).toEqual([1, 2]);
  });

  it('counts its timelines on as announced, also after a promotion that broke off', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    const first = await fixture.start('a', port);
    await first.promote(10_000);
    const promoted = await first.connect();
    // The one of the promotion comes by itself, and a timeline cannot begin before it.
    await promoted.query('CHECKPOINT');
    const { timeline, receivedLsn } = await probe(promoted);
    const dataDir = fixture.dataDir('a');
    expect(newestTimeline(dataDir, timeline)).toBe(timeline);
    await first.stop('immediate');
    // All that a promotion leaves that ended right after its first step.
    const begun = join(dataDir, 'pg_wal', '00000003.history');
    await copyFile(join(dataDir, 'pg_wal', '00000002.history'), begun);
    await appendFile(begun, `${timeline}\t${formatLsn(receivedLsn)}\tno recovery target specified\n`);

    const again = await fixture.start('a', port);
    const client = await again.connect();
    await until('the end of the log', async () => (await probe(client)).isAtLogEnd);
    const announced = nextTimeline(newestTimeline(dataDir, (await probe(client)).timeline));
    expect(announced).toBe(4);
    await again.promote(10_000);
    expect((await probe(client)).timeline).toBe(announced);
  });

  it('tells a diverged node by its history and brings it back', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const [portA, portB] = [await freePort(), await freePort()];
    await fixture.initialize('a');
    const a = await fixture.start('a', portA);
    await a.promote(10_000);
    await takeBaseBackup({
      source: fixture.address(portA),
      dataDir: fixture.dataDir('b'),
      account: fixture.account,
    });
    const b = await fixture.start('b', portB, portA);
    const clientB = await b.connect();
    await until('b streams', async () => (await probe(clientB)).isReceiving);
    await fixture.configure('b', portB, null);
    b.reload();
    await until('b is cut off', async () => !(await probe(clientB)).hasReceiver);
    const clientA = await a.connect();
    await createSlot(clientA, 'of_a');
    await createSlot(clientB, 'of_b');
    await clientA.query('CREATE TABLE only_on_a (id int)');
    await a.stop('immediate');
    await b.promote(10_000);
    await clientB.query('CHECKPOINT');
    await clientB.query('CREATE TABLE only_on_b (id int)');

    const again = await fixture.start('a', portA);
    const clientAgain = await again.connect();
    const end = await until('the end of the log', async () => {
      const seen = await probe(clientAgain);
      return seen.isAtLogEnd && seen;
    });
    const history = await readTimelineHistory(fixture.dataDir('b'), (await probe(clientB)).timeline);
    expect(isSharedHistory(history, { timeline: end.timeline, ancestors: [] }, end.replayedLsn)).toBe(false);
    await clientAgain.end();
    await again.stop('fast');

    const rewind = await rewindDataFolder({
      binaries,
      account: fixture.account,
      dataDir: fixture.dataDir('a'),
      source: fixture.address(portB),
    });
    if (binaries.pgRewind === null) {
      expect(rewind).toEqual({ kind: 'failed', reason: 'this PostgreSQL ships no pg_rewind' });
    } else {
      expect(rewind).toEqual({ kind: 'rewound' });
      const follower = await fixture.start('a', portA, portB);
      const client = await follower.connect();
      await until(
        'the new history',
        async () => (await client.query(`SELECT to_regclass('only_on_b') AS t`)).rows[0]?.t !== null,
      );
      const { rows } = await client.query(`SELECT to_regclass('only_on_a') AS t`);
      expect(rows).toEqual([{ t: null }]);
      // Like a copy, a rewound folder has no slots at all.
      expect((await readSlots(client)).slots).toEqual([]);
      await client.end();
    }
  });

  it('is killed at its deadline and when a port is taken says so', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    let ended: string | null = null;
    const a = await fixture.start('a', port, null, (reason) => (ended = reason));
    const pid = a.pid ?? 0;
    const beforeMs = machineClock.nowMs();
    a.setDeadlines({ freezeAtMs: beforeMs + 300, killAtMs: beforeMs + 300 });
    await until('it is dead', () => ended !== null);
    expect(ended).toContain('the lease ran out');
    expect(machineClock.nowMs() - beforeMs).toBeGreaterThan(299);
    expect(() => process.kill(pid, 0)).toThrow();

    await fixture.initialize('b');
    await fixture.start('a', port);
    await expect(fixture.start('b', port)).rejects.toThrow(/Port \d+ is in use; stop what listens there/);
    expect(await readFile(join(fixture.root, 'b', 'postgres.log'), 'utf8')).toContain('could not bind');
  });

  it("tells a session's words of damage apart from its own", async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    const a = await fixture.start('a', await freePort());
    await a.promote(10_000);
    const client = await a.connect();
    const page = 'invalid page in block 1 of relation "x"';
    const log = (): Promise<string> => readFile(join(fixture.root, 'a', 'postgres.log'), 'utf8');
    const lies = [
      `SELECT '${page}'::int`,
      `SELECT 'x\nLOG:  ${page}'::int`,
      `SELECT * FROM "LOG:  ${page.slice(0, 30)}"`,
    ];
    for (const lie of lies) await expect(client.query(lie)).rejects.toThrow();
    await until('all are logged', async () => (await log()).includes('does not exist'));
    expect([...new DamageReader().read(await log())]).toEqual([]);
    await client.query(`DO $$ BEGIN RAISE WARNING '${page}'; END $$`);
    await until('it is logged', async () => (await log()).includes('WARNING:  invalid page'));
    expect([...new DamageReader().read(await log())]).toEqual([
      ['a page of its data is damaged, says a session, whose SQL may have made that up', `WARNING:  ${page}`],
    ]);
    // What it finds for a session is no less told; a newer one's workers find it too.
    await client.query('CREATE TABLE t AS SELECT 1 AS id; CHECKPOINT');
    const { rows } = await client.query("SELECT pg_relation_filepath('t') AS path");
    await client.end();
    await a.stop('fast');
    const { path } = rows[0] as { path: string };
    await writeFile(join(fixture.dataDir('a'), path), Buffer.alloc(8192, 1));
    const { length } = await log();
    const again = await fixture.start('a', await freePort());
    await expect((await again.connect()).query('SELECT * FROM t')).rejects.toThrow('invalid page in block 0');
    await until('it is logged', async () => (await log()).slice(length).includes('ERROR:  invalid page'));
    expect([...new DamageReader().read((await log()).slice(length)).keys()]).toContain(
      'a page of its data is damaged, says a session, whose SQL may have made that up',
    );
    // Of a process of its own the kind is known.
    expect(await log()).toMatch(/^\S+ \S+ \S+ \[\d+\] startup LOG: {2}/m);
    expect(await log()).toMatch(/^\S+ \S+ \S+ \[\d+\] postmaster LOG: {2}/m);
  });
});

/** PostgreSQL makes no process while it tells its sessions of new settings. */
async function expectToldToAll(server: PostgresServer, port: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 10 }, () => server.connect()));
  const tells = async (client: Client): Promise<boolean> => {
    const { rows } = await client.query("SELECT current_setting('work_mem') = '12345kB' AS is_told");
    return (rows[0] as { is_told: boolean }).is_told;
  };
  await (clients[0] as Client).query("ALTER SYSTEM SET work_mem = '12345kB'");
  let isMade = false;
  process.kill(server.pid ?? 0, 'SIGSTOP');
  try {
    server.reload();
    const made = untilNewProcess({ host: '127.0.0.1', port }, 10_000).then(() => (isMade = true));
    // Sessions answer meanwhile, and the connection stands by then.
    for (let look = 0; look < 50; look += 1)
      expect(await Promise.all(clients.map(tells))).not.toContain(true);
    expect(isMade).toBe(false);
    process.kill(server.pid ?? 0, 'SIGCONT');
    await made;
  } finally {
    process.kill(server.pid ?? 0, 'SIGCONT');
  }
  expect(await Promise.all(clients.map(tells))).not.toContain(false);
  await Promise.all(clients.map((client) => client.end()));
  await expect(untilNewProcess({ host: '127.0.0.1', port: await freePort() }, 10_000)).rejects.toThrow(
    'ECONNREFUSED',
  );
}

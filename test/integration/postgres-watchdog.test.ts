import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { listProcesses } from '../../src/postgres/watchdog/leftover.ts';
import { machineClock } from '../../src/clock/machine-clock.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { AgentProcess, isAlive, parentOf } from './agent-process.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

const hasDeathSignal = existsSync('/usr/bin/setpriv');
const mayBeRealTime = spawnSync('chrt', ['--fifo', '1', 'true']).status === 0;
const binaries = await reachableBinaries(await findPostgres(), await resolveAccount());

describe('the watchdog (I8)', () => {
  it('ends PostgreSQL with its busy backends when the agent is killed', async () => {
    await using agent = await AgentProcess.start(60_000);
    const client = await agent.connect();
    const busy = client.query('SELECT pg_sleep(60)').catch((error: Error) => error);
    await until('the statement runs', () => listProcesses(agent.fixture.dataDir('a')).length > 1);
    process.kill(agent.pid, 'SIGKILL');
    await agent.untilServerIsGone(3_000);
    expect(await busy).toBeInstanceOf(Error);
    await until('the watchdog ended too', () => !isAlive(agent.watchdogPid), 3_000);
  });

  it('ends PostgreSQL at the deadline, not before, when the agent is suspended', async () => {
    await using agent = await AgentProcess.start(1_500);
    process.kill(agent.pid, 'SIGSTOP');
    const client = await agent.connect();
    await client.query('CREATE TABLE still_within_the_lease ()');
    const goneAfterMs = await agent.untilServerIsGone(5_000);
    // The last renewal was at most a quarter of the lease before the suspension.
    expect(goneAfterMs).toBeGreaterThan(500);
    expect(goneAfterMs).toBeLessThan(2_500);
    expect(readFileSync(`/proc/${agent.pid}/status`, 'utf8')).toMatch(/State:\s*T/);
    process.kill(agent.pid, 'SIGCONT');
    await until('the woken agent learns it', () =>
      agent.lines.some((line) => /lease ran out/.test(String(line['ended']))),
    );
  });

  it('looks at the deadline first when it was suspended itself', async () => {
    await using agent = await AgentProcess.start(1_000);
    process.kill(agent.pid, 'SIGSTOP');
    process.kill(agent.watchdogPid, 'SIGSTOP');
    const deadlineMs = machineClock.nowMs() + 1_200;
    await until('the lease is over', () => machineClock.nowMs() > deadlineMs);
    expect(isAlive(agent.postmasterPid)).toBe(true);
    process.kill(agent.watchdogPid, 'SIGCONT');
    expect(await agent.untilServerIsGone(3_000)).toBeLessThan(1_000);
  });

  it('freezes PostgreSQL while the leader lacks support, and lets it go on', async () => {
    await using agent = await AgentProcess.start(60_000, 300);
    const client = await agent.connect();
    await client.query('CREATE TABLE t (v int)');
    process.kill(agent.pid, 'SIGUSR2');
    const isFrozen = (): boolean => agent.lines.findLast((line) => 'frozen' in line)?.['frozen'] != null;
    await until('it is frozen', isFrozen, 3_000);
    const stopped = (pid: number): boolean => /State:\s*T/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    // A process shows as stopped once it was scheduled again, on a busy machine some time after the signal.
    await until('all is stopped', () => listProcesses(agent.fixture.dataDir('a')).every(stopped), 3_000);
    let isAnswered = false;
    const write = client.query('INSERT INTO t VALUES (1)').then(() => (isAnswered = true));
    expect(listProcesses(agent.fixture.dataDir('a')).filter((pid) => !stopped(pid))).toEqual([]);
    expect(isAnswered).toBe(false);
    process.kill(agent.pid, 'SIGUSR2');
    await write;
    await until('it goes on', () => !isFrozen(), 3_000);
    await client.end();
  });

  it('does not wake what somebody else had suspended, and stops what they let go too early', async () => {
    await using agent = await AgentProcess.start(60_000, 300);
    const client = await agent.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const foreign = rows[0]?.pid ?? 0;
    const isStopped = (pid: number): boolean =>
      /State:\s*T/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    const isFrozen = (): boolean => agent.lines.findLast((line) => 'frozen' in line)?.['frozen'] != null;
    process.kill(foreign, 'SIGSTOP');
    await until('it is suspended', () => isStopped(foreign));
    process.kill(agent.pid, 'SIGUSR2');
    await until('all is frozen', isFrozen, 3_000);
    process.kill(agent.pid, 'SIGUSR2');
    await until('the rest goes on', () => !isFrozen() && !isStopped(agent.postmasterPid), 3_000);
    expect(isStopped(foreign)).toBe(true);

    process.kill(agent.pid, 'SIGUSR2');
    await until('all is frozen again', isFrozen, 3_000);
    process.kill(foreign, 'SIGCONT');
    await until('its watchdog stopped it', () => isStopped(foreign), 1_000);
    process.kill(agent.pid, 'SIGUSR2');
    await until('it goes on with the rest', () => !isFrozen() && !isStopped(foreign), 3_000);
    await client.end();
  });

  it('kills a frozen PostgreSQL when the lease runs out', async () => {
    await using agent = await AgentProcess.start(1_000, 300);
    const client = await agent.connect();
    client.on('error', () => undefined);
    process.kill(agent.pid, 'SIGSTOP');
    await agent.untilServerIsGone(5_000);
    process.kill(agent.pid, 'SIGCONT');
    await until('the woken agent learns it', () =>
      agent.lines.some((line) => /lease ran out/.test(String(line['ended']))),
    );
  });

  it('lets no backend outlive a killed postmaster', async () => {
    await using agent = await AgentProcess.start(60_000);
    const client = await agent.connect();
    client.on('error', () => undefined);
    // A busy backend does not look whether its postmaster lives.
    const busy = client.query('SELECT count(*) FROM generate_series(1, 1000000000)').catch(() => undefined);
    await until('the statement runs', () => listProcesses(agent.fixture.dataDir('a')).length > 1);
    process.kill(agent.postmasterPid, 'SIGKILL');
    expect(await agent.untilServerIsGone(2_000)).toBeLessThan(1_000);
    await busy;
  });

  it('is missed at once by its agent when it is killed', async () => {
    await using agent = await AgentProcess.start(60_000);
    process.kill(agent.watchdogPid, 'SIGKILL');
    await agent.untilServerIsGone(2_000);
    await until('the agent says so', () =>
      agent.lines.some((line) => line['ended'] === 'the watchdog ended'),
    );
  });

  it.runIf(hasDeathSignal)('takes PostgreSQL along when agent and watchdog are killed together', async () => {
    await using agent = await AgentProcess.start(60_000);
    const client = await agent.connect();
    // It waits for nothing, so it would not notice for long that its postmaster died.
    const busy = client
      .query('SELECT count(*) FROM generate_series(1, 1000000000)')
      .catch((error: Error) => error);
    process.kill(agent.pid, 'SIGSTOP');
    process.kill(agent.watchdogPid, 'SIGKILL');
    process.kill(agent.pid, 'SIGKILL');
    expect(await busy).toBeInstanceOf(Error);
    await agent.untilServerIsGone(3_000);
  });

  it.runIf(mayBeRealTime)('is real-time, and PostgreSQL is not', async () => {
    await using agent = await AgentProcess.start(60_000);
    // proc(5): `policy` is the 41st field, the 39th behind the name.
    const policyOf = (pid: number): number =>
      Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[38]);
    const [other, fifo] = [0, 1];
    await until('it is real-time', () => policyOf(agent.watchdogPid) === fifo);
    const client = await agent.connect();
    const policies = new Set(listProcesses(agent.fixture.dataDir('a')).map(policyOf));
    expect(policies).toEqual(new Set([other]));
    await client.end();
  });

  it("keeps the terminal's signals away from PostgreSQL: they are the agent's to answer", async () => {
    await using agent = await AgentProcess.start(60_000);
    const client = await agent.connect();
    process.kill(-agent.pid, 'SIGINT');
    await until('the agent got it', () => agent.lines.some((line) => line['interrupted'] === true));
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    expect(isAlive(agent.postmasterPid)).toBe(true);
    await client.end();
  });
});

describe('a start', () => {
  it('does not trust a stale pid file: the process of that number lives on', async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    const bystander = spawn('sleep', ['60']);
    try {
      await writeFile(
        join(fixture.dataDir('a'), 'postmaster.pid'),
        `${bystander.pid}\n${fixture.dataDir('a')}\n`,
      );
      const a = await fixture.start('a', await freePort());
      expect(a.isRunning).toBe(true);
      expect(isAlive(bystander.pid ?? 0)).toBe(true);
    } finally {
      bystander.kill('SIGKILL');
    }
  });

  it('ends a whole PostgreSQL that nobody watches, also when its folder is named through a link', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    await fixture.configure('a', port, null);
    const { account } = fixture;
    const orphan = spawn(join(binaries.binDir, 'postgres'), ['-D', fixture.dataDir('a')], {
      stdio: 'ignore',
      cwd: '/',
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
    });
    try {
      const client = await until('the orphan accepts sessions', () => fixture.server('a', port).connect());
      await symlink(dirname(fixture.dataDir('a')), join(fixture.root, 'link'));
      const server = await fixture.start('link', port);
      expect(isAlive(orphan.pid ?? 0)).toBe(false);
      expect(server.pid).not.toBe(orphan.pid);
      await expect(client.query('SELECT 1')).rejects.toThrow();
    } finally {
      orphan.kill('SIGKILL');
    }
  });

  it('ends a backend that outlived its postmaster and still holds the shared memory', async () => {
    await using agent = await AgentProcess.start(60_000);
    const client = await agent.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const backend = rows[0]?.pid ?? 0;
    // Suspended, it cannot notice that its postmaster died.
    process.kill(backend, 'SIGSTOP');
    process.kill(agent.pid, 'SIGSTOP');
    process.kill(agent.watchdogPid, 'SIGKILL');
    process.kill(agent.postmasterPid, 'SIGKILL');
    process.kill(agent.pid, 'SIGKILL');
    await until(
      'only the backend is left',
      () => listProcesses(agent.fixture.dataDir('a')).join() === String(backend),
    );
    const server = await agent.fixture.start('a', agent.port);
    expect(isAlive(backend)).toBe(false);
    expect(await readFile(join(agent.fixture.root, 'a', 'postgres.log'), 'utf8')).not.toContain(
      'pre-existing shared memory',
    );
    await server.stop('fast');
  });

  it('right after an end belongs to its own watchdog, not to the one that is ending', async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    const server = await fixture.start('a', await freePort());
    for (let round = 1; round <= 8; round++) {
      const deadline = machineClock.nowMs() + 10_000;
      server.kill(`round ${round}`);
      // Without a pause: the agent hears of PostgreSQL's end before its watchdog has ended.
      while (server.isRunning && machineClock.nowMs() < deadline) await setImmediate();
      await server.startAsFollower();
      expect(server.isRunning).toBe(true);
    }
  });

  it('that fails throws, and does not report an exit besides', async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    await fixture.configure('a', await freePort(), null);
    await writeFile(join(fixture.dataDir('a'), 'postgresql.conf'), "shared_buffers = 'plenty'\n");
    const ended: string[] = [];
    const server: PostgresServer = fixture.server('a', 1, (reason) => ended.push(reason));
    await expect(server.startAsFollower()).rejects.toMatchObject({
      code: 'POSTGRES_FAILED',
      message: expect.stringContaining('invalid value for parameter "shared_buffers"'),
    });
    expect(ended).toEqual([]);
    expect(server.isRunning).toBe(false);
  });
});

describe('a promotion', () => {
  it('after the lease ran out does not last: the deadline outlives the watchdog it was given to', async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    const ended: string[] = [];
    const server = await fixture.start('a', await freePort(), null, (reason) => ended.push(reason));
    const endMs = machineClock.nowMs() + 100;
    server.setDeadlines({ freezeAtMs: endMs, killAtMs: endMs });
    await until('the first one is killed', () => ended.length === 1);
    await server.startAsFollower();
    expect(ended).toHaveLength(1);
    await server.promote(10_000).catch(() => undefined);
    await until('the second one is killed', () => ended.length === 2, 3_000);
    expect(ended[1]).toContain('the lease ran out');
    server.setDeadlines(null);
  });
});

describe('a stop', () => {
  it('ends PostgreSQL also when its watchdog is suspended and a session is in the way', async () => {
    await using fixture = await ServerFixture.create(binaries);
    await fixture.initialize('a');
    const server = await fixture.start('a', await freePort());
    const pid = server.pid ?? 0;
    const client = await server.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    process.kill(rows[0]?.pid ?? 0, 'SIGSTOP');
    process.kill(parentOf(pid), 'SIGSTOP');
    await server.stop('fast', 200);
    expect(server.isRunning).toBe(false);
    // A process that is ending works in no folder any more, a moment before it is gone.
    await until(
      'all its processes are gone',
      () => listProcesses(fixture.dataDir('a')).length === 0 && !isAlive(pid),
      2_000,
    );
  });
});

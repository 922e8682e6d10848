import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { KernelWatchdogDevice } from '../../src/postgres/watchdog/kernel-watchdog.ts';
import { killProcesses, listProcesses } from '../../src/postgres/watchdog/leftover.ts';
import { machineClock } from '../../src/clock/machine-clock.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

const AGENT = fileURLToPath(new URL('./watchdog-agent.ts', import.meta.url));
const binaries = await reachableBinaries(await findPostgres(), await resolveAccount());

/** An agent in a process of its own, with its watchdog and PostgreSQL; all are killed when the test ends. */
export class AgentProcess implements AsyncDisposable {
  readonly fixture: ServerFixture;
  readonly port: number;
  readonly pid: number;
  readonly watchdogPid: number;
  readonly postmasterPid: number;
  readonly lines: Record<string, unknown>[];

  private constructor(fixture: ServerFixture, port: number, pid: number, lines: Record<string, unknown>[]) {
    this.fixture = fixture;
    this.port = port;
    this.pid = pid;
    this.lines = lines;
    this.postmasterPid = Number(lines[0]?.['pid']);
    this.watchdogPid = parentOf(this.postmasterPid);
  }

  static async start(
    leaseMs: number,
    supportMs: number = leaseMs,
    kernelWatchdog: KernelWatchdogDevice | null = null,
  ): Promise<AgentProcess> {
    const fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    await fixture.configure('a', port, null);
    const options = {
      binaries,
      account: fixture.account,
      dataDir: fixture.dataDir('a'),
      logPath: join(fixture.root, 'a', 'postgres.log'),
      host: '127.0.0.1',
      port,
      superuserPassword: fixture.address(port).password,
      leaseMs,
      supportMs,
      kernelWatchdog,
    };
    // A process group of its own, as a shell gives to a command.
    const child = spawn(process.execPath, [AGENT, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
    try {
      await until('the agent leads', () => lines.length > 0 && child.pid !== undefined);
      return new AgentProcess(fixture, port, child.pid ?? 0, lines);
    } catch (error) {
      child.kill('SIGKILL');
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  connect(): Promise<pg.Client> {
    return this.fixture.server('a', this.port).connect();
  }

  /** Polls until no process of PostgreSQL works in the data folder, and tells how long that took. */
  async untilServerIsGone(deadlineMs: number): Promise<number> {
    const startedAtMs = machineClock.nowMs();
    await until(
      'PostgreSQL is gone',
      () => listProcesses(this.fixture.dataDir('a')).length === 0 && !isAlive(this.postmasterPid),
      deadlineMs,
    );
    return machineClock.nowMs() - startedAtMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    killProcesses([this.pid]);
    if (
      isAlive(this.watchdogPid) &&
      readFileSync(`/proc/${this.watchdogPid}/cmdline`, 'utf8').includes('watchdog')
    ) {
      killProcesses([this.watchdogPid]);
    }
    killProcesses(listProcesses(this.fixture.dataDir('a')));
    await this.fixture[Symbol.asyncDispose]();
  }
}

/** NaN once it has ended. */
export function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return Number.NaN;
  }
}

/** Whether the process runs or is suspended; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

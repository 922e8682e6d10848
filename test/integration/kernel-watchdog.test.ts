import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { machineClock } from '../../src/clock/machine-clock.ts';
import { AgentProcess } from './agent-process.ts';
import { until } from './fixture.ts';

describe('the kernel watchdog', () => {
  it('is kept alive while PostgreSQL may write, and let go when it is frozen or has ended', async () => {
    await using device = await FakeDevice.create();
    const options = { device: device.path, timeoutMs: 400, isRequired: false };
    await using agent = await AgentProcess.start(60_000, 300, options);
    await until('it is kept alive', () => device.written.length >= 8);
    expect(device.written).not.toContain('V');
    process.kill(agent.pid, 'SIGUSR2');
    await until('it is let go with what is frozen', () => device.written.endsWith('V'), 3_000);
    const frozen = device.written.length;
    process.kill(agent.pid, 'SIGUSR2');
    await until('it is armed again', () => device.written.length > frozen + 4, 3_000);
    expect(device.written.slice(frozen)).not.toContain('V');
    process.kill(agent.pid, 'SIGKILL');
    await agent.untilServerIsGone(3_000);
    await until('it is let go at the end', () => device.written.endsWith('V'), 3_000);
  });

  it('is not let go by a watchdog that was killed or suspended: that is what it is for', async () => {
    await using device = await FakeDevice.create();
    const options = { device: device.path, timeoutMs: 400, isRequired: true };
    await using agent = await AgentProcess.start(60_000, 60_000, options);
    await until('it is kept alive', () => device.written.length >= 4);
    process.kill(agent.watchdogPid, 'SIGSTOP');
    const readMs = machineClock.nowMs() + 500;
    await until('all is read', () => machineClock.nowMs() > readMs);
    const suspended = device.written;
    expect(suspended).not.toContain('V');
    const endMs = machineClock.nowMs() + 800;
    await until('twice the timeout passed', () => machineClock.nowMs() > endMs);
    expect(device.written).toBe(suspended);
    process.kill(agent.watchdogPid, 'SIGKILL');
    await agent.untilServerIsGone(3_000);
    expect(device.written).toBe(suspended);
  });

  it('is not armed where its reset would come after the lease, and freezes a leader that requires it', async () => {
    await using device = await FakeDevice.create();
    const options = { device: device.path, timeoutMs: 2_000, isRequired: false };
    {
      await using agent = await AgentProcess.start(1_000, 1_000, options);
      const client = await agent.connect();
      await client.query('CREATE TABLE it_leads_without ()');
      await client.end();
      expect(device.written).toBe('');
    }
    await using agent = await AgentProcess.start(1_000, 1_000, { ...options, isRequired: true });
    await until('it is frozen', () => agent.lines.some((line) => line['frozen'] != null), 3_000);
    expect(device.written).toBe('');
  });

  it('that is required and cannot be opened ends PostgreSQL', async () => {
    const options = { device: '/nowhere/watchdog', timeoutMs: 400, isRequired: true };
    await using agent = await AgentProcess.start(60_000, 60_000, options);
    await until('it says so', () =>
      agent.lines.some((line) => /the kernel watchdog cannot be used: ENOENT/.test(String(line['ended']))),
    );
    await agent.untilServerIsGone(3_000);
  });
});

/** Stands in for /dev/watchdog: a pipe that remembers what was written. It has no timeout and resets nothing. */
class FakeDevice implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  readonly #reader: number;
  #written = '';

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, 'watchdog');
    spawnSync('mkfifo', [this.path]);
    this.#reader = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  static async create(): Promise<FakeDevice> {
    return new FakeDevice(await mkdtemp(join(tmpdir(), 'lockstep-device-')));
  }

  /** Each keepalive as a dot. */
  get written(): string {
    const chunk = Buffer.alloc(4_096);
    for (;;) {
      try {
        const bytes = readSync(this.#reader, chunk);
        this.#written += chunk.toString('latin1', 0, bytes).replaceAll('\0', '.');
      } catch {
        return this.#written;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    closeSync(this.#reader);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

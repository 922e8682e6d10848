import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Systemd } from '../../src/host/systemd.ts';
import { until } from './fixture.ts';
import { NotifySocket } from './notify-socket.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-notify-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('the service manager', () => {
  it('is told in order, with signs of life as often as it asks for them', async () => {
    await using socket = await NotifySocket.open(join(folder, 'notify'));
    const environment = {
      NOTIFY_SOCKET: socket.path,
      WATCHDOG_USEC: '300000',
      WATCHDOG_PID: String(process.pid),
      PATH: process.env['PATH'],
    };
    const problems: string[] = [];
    const manager = new Systemd({ environment, onProblem: (problem) => problems.push(problem) });
    expect(Object.keys(environment)).toEqual(['PATH']);
    manager.status('n1 starts');
    await manager.ready();
    manager.status('n1 leads\nterm 1');
    manager.status('n1 leads\nterm 1');
    await until('signs of life', () => socket.messages.filter((text) => text === 'WATCHDOG=1').length > 2);
    await manager.stopping();
    await until('the last word', () => socket.messages.includes('STOPPING=1'));
    expect(socket.messages.filter((text) => text !== 'WATCHDOG=1')).toEqual([
      'STATUS=n1 starts',
      'READY=1',
      'STATUS=n1 leads term 1',
      'STOPPING=1',
    ]);
    expect(problems).toEqual([]);
  });

  it('is told nothing where it does not ask, or asks another process for signs of life', async () => {
    const fail = (problem: string): never => {
      throw new Error(problem);
    };
    const alone = new Systemd({ environment: {}, onProblem: fail });
    alone.status('x');
    await alone.ready();
    await alone.stopping();
    await using socket = await NotifySocket.open(join(folder, 'notify'));
    const environment = { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '3000', WATCHDOG_PID: '1' };
    const manager = new Systemd({ environment, onProblem: fail });
    await manager.ready();
    await until('it is told', () => socket.messages.includes('READY=1'));
    expect(socket.messages).toEqual(['READY=1']);
    await manager.stopping();
  });

  it('that cannot be told is a problem that is told once', async () => {
    const problems: string[] = [];
    const manager = new Systemd({
      environment: { NOTIFY_SOCKET: join(folder, 'nobody') },
      onProblem: (problem) => problems.push(problem),
    });
    await manager.ready();
    await manager.stopping();
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^Use Type=exec, or install systemd-notify: /);
  });
});

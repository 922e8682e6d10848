import { rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listProcesses } from '../../src/postgres/watchdog/leftover.ts';
import { freePort, until } from './fixture.ts';
import { ServerMachine } from './server-machine.ts';

describe('a folder', () => {
  it('of a node has one agent: a second one says so and touches nothing', async () => {
    await using machine = await ServerMachine.create();
    const first = machine.run(machine.agentCommand);
    await until('it leads', () => machine.isLeading());
    const postgres = listProcesses(join(machine.folder, 'nodes/n1/data'));

    // On ports of its own, where nothing else would stop it.
    const second = machine.run(await machine.agentCommandOnOtherPorts());
    expect(await second.ended).toBe(1);
    expect(second.printed).toMatch(/^lockstep: Stop the agent of node n1 that runs already \(process \d+\)/);
    expect(first.printed).not.toContain('"kind":"stopped"');
    expect(listProcesses(join(machine.folder, 'nodes/n1/data'))).toEqual(
      expect.arrayContaining([postgres[0]]),
    );
    expect(await machine.isLeading()).toBe(true);

    // The kernel lets go of it, however its process ends.
    await first.kill();
    const next = machine.run(machine.agentCommand);
    await until('it leads again', async () => next.hasEnded || (await machine.isLeading()));
    expect(next.hasEnded).toBe(false);
  });

  it('of a local cluster has one "lockstep dev", also when run.json was removed', async () => {
    await using machine = await ServerMachine.create();
    const state = join(machine.folder, 'dev');
    const words = ['dev', '--nodes', '1', '--state', state];
    const first = machine.run(words);
    await until('it is ready', () => first.hasEnded || first.printed.includes('cluster ready'), 60_000);
    expect(first.printed).toContain('cluster ready');
    await rm(join(state, 'run.json'));

    const second = machine.run(words);
    expect(await second.ended).toBe(1);
    expect(second.printed).toMatch(/This cluster runs already \(process \d+\)\. Stop it with Ctrl-C there/);
    expect(first.printed).not.toMatch(/n1 stopped/);
    expect(await first.stop('SIGINT')).toBe(0);
  });

  it('that a killed "lockstep dev" left is taken by the next one, which waits for its agents to end', async () => {
    await using machine = await ServerMachine.create();
    const dashboard = await freePort();
    const words = [
      'dev',
      '--nodes',
      '1',
      '--state',
      join(machine.folder, 'dev'),
      '--dashboard-port',
      String(dashboard),
    ];
    const first = machine.run(words);
    await until('it is ready', () => first.printed.includes('cluster ready'), 60_000);
    // It alone: its agent sees standard input close, and stops in order.
    first.process.kill('SIGKILL');
    await first.ended;
    await until('its port is free', () => isRefused(dashboard));
    const second = machine.run(words);
    await until(
      'it is ready again',
      () => second.hasEnded || second.printed.includes('cluster ready'),
      60_000,
    );
    expect(second.printed).toContain('cluster ready');
    expect(await second.stop('SIGINT')).toBe(0);
  });
});

function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}

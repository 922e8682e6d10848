import { describe, expect, it } from 'vitest';
import { until } from './fixture.ts';
import { ServerMachine } from './server-machine.ts';

describe('lockstep agent', () => {
  it('lives with standard input at /dev/null, as a service manager starts it, and ends in order by SIGTERM', async () => {
    await using machine = await ServerMachine.create();
    const agent = machine.run(machine.agentCommand);
    await until('it leads', async () => agent.hasEnded || (await machine.isLeading()));
    expect(agent.printed).toMatch(/"kind":"promoted"/);
    expect(agent.hasEnded).toBe(false);
    expect(await agent.stop()).toBe(0);
  });

  it('ends when standard input closes where it was told to, and takes folders as they are named', async () => {
    await using machine = await ServerMachine.create();
    // Also below root, where PostgreSQL does not begin in this folder.
    const words = [
      'agent',
      '--config',
      'cluster.json',
      '--data',
      '.',
      '--node',
      'n1',
      '--until-stdin-closes',
    ];
    const agent = machine.run(words, 'pipe', { cwd: machine.folder });
    await until('it leads', () => machine.isLeading());
    agent.process.stdin?.end();
    expect(await agent.ended).toBe(0);
  });
});

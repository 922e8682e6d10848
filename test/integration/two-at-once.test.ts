import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { until } from './fixture.ts';
import { ServerMachine } from './server-machine.ts';

describe('two clusters', () => {
  it('that are started in the same moment choose other ports, and one line tells of each start', async () => {
    await using machine = await ServerMachine.create();
    const folders = ['one', 'two'].map((name) => join(machine.folder, name));
    const started = folders.map((state) => machine.run(['dev', '--nodes', '1', '--state', state]));
    for (const dev of started)
      await until(
        `ready\n${dev.printed}`,
        () => dev.hasEnded || dev.printed.includes('cluster ready'),
        90_000,
      );
    const configs = await Promise.all(
      folders.map(
        async (folder) =>
          JSON.parse(await readFile(join(folder, 'cluster.json'), 'utf8')) as {
            nodes: { port: number; agentPort: number }[];
          },
      ),
    );
    const ports = configs.flatMap(({ nodes }) => nodes.flatMap(({ port, agentPort }) => [port, agentPort]));
    expect(new Set(ports).size).toBe(4);
    for (const dev of started) {
      expect(dev.printed).toContain('cluster ready');
      expect(
        dev.printed.split('\n').filter((line) => / (n1|dev) /.test(line) && !/in use/.test(line)),
      ).toEqual([expect.stringMatching(/dev starting n1$/), expect.stringMatching(/dev cluster ready in /)]);
      expect(await dev.stop('SIGINT')).toBe(0);
    }
  });
});

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from './fixture.ts';
import type { Running } from './server-machine.ts';
import { ServerMachine } from './server-machine.ts';

const SIGNAL_EVERY_MS = 1_200;

/** It takes ports that are free. */
function startRegions(machine: ServerMachine, ...words: readonly string[]): Running {
  const state = join(machine.folder, 'dev');
  return machine.run(['dev', '--regions', 'eu,us', '--state', state, ...words]);
}

async function untilThere(machine: ServerMachine, dev: Running, name: string): Promise<void> {
  await until(`${name} is there`, () => dev.hasEnded || existsSync(join(machine.folder, name)), 120_000);
  expect(dev.hasEnded ? dev.printed : null).toBeNull();
}

it('regions that are stopped while their tables are made end at once', async () => {
  await using machine = await ServerMachine.create();
  const dev = startRegions(machine, '--prepare', `touch ${machine.folder}/begun; exec sleep 3600`);
  await untilThere(machine, dev, 'begun');
  dev.process.kill('SIGINT');
  await until('it has ended', () => dev.hasEnded, 60_000);
  expect(await dev.ended).toBe(0);
});

it('regions that are stopped while their processes start open nothing after that', async () => {
  await using machine = await ServerMachine.create();
  const dev = startRegions(machine);
  await untilThere(machine, dev, 'dev/regions.json');
  dev.process.kill('SIGINT');
  await until('it has ended', () => dev.hasEnded, 60_000);
  expect(await dev.ended).toBe(0);
  expect(dev.printed).not.toContain('dashboard');
});

it('a second signal ends what the first one cannot', async () => {
  await using machine = await ServerMachine.create();
  const definition = join(machine.folder, 'endless.mjs');
  await writeFile(
    definition,
    `import { writeFileSync } from 'node:fs';
     writeFileSync(new URL('loading', import.meta.url), '');
     await new Promise((done) => setTimeout(done, 3_600_000));
     export default {};`,
  );
  const dev = startRegions(machine, '--regions-definition', definition);
  await untilThere(machine, dev, 'loading');
  let signalledAtMs = -SIGNAL_EVERY_MS;
  await until('it has ended', () => {
    if (!dev.hasEnded && performance.now() - signalledAtMs > SIGNAL_EVERY_MS) {
      signalledAtMs = performance.now();
      dev.process.kill('SIGINT');
    }
    return dev.hasEnded;
  });
  expect(await dev.ended).toBe(1);
});

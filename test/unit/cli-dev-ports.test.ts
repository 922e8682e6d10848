import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { takePort } from '../../src/cli/dev/ports.ts';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('a port is not taken through a link that somebody put where this user takes ports, and nothing is made behind it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-ports-test-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const elsewhere = join(folder, 'elsewhere');
  await mkdir(elsewhere);
  await symlink(elsewhere, join(folder, `lockstep-ports-${process.geteuid?.() ?? 0}`));
  vi.stubEnv('TMPDIR', folder);
  onTestFinished(() => void vi.unstubAllEnvs());
  await expect(takePort(await freePort())).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  expect(await readdir(elsewhere)).toEqual([]);
});

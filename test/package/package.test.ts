import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

describe('the published package', () => {
  it('is built, well-formed, and runs without the source', async () => {
    await run(process.execPath, [join(root, 'scripts/build.mjs')]);
    const { messages } = await publint({ pkgDir: root, level: 'warning' });
    expect(messages).toEqual([]);
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-package-'));
    try {
      const { stdout: packed } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
        cwd: root,
      });
      const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
      await run('tar', ['-xzf', join(folder, filename), '-C', folder]);
      const installed = join(folder, 'package');
      await symlink(join(root, 'node_modules'), join(installed, 'node_modules'));
      const help = await run(process.execPath, [join(installed, 'bin/lockstep.js'), '--help']);
      expect(help.stdout).toContain('switchover');
      const entry = './dist/index.js';
      await writeFile(
        join(installed, 'app.mjs'),
        `import { connect } from '${entry}'; console.log(typeof connect);`,
      );
      expect((await run(process.execPath, [join(installed, 'app.mjs')])).stdout).toBe('function\n');
      expect(await readFile(join(installed, 'dist/index.d.ts'), 'utf8')).toContain('connect');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

// `npm run build`: compiles src/ to dist/ for publishing. The dashboard's page is plain and copied as it is.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { ensureInstalled, root } from './toolchain.mjs';

ensureInstalled();
rmSync(`${root}dist`, { recursive: true, force: true });
const { status } = spawnSync(`${root}node_modules/.bin/tsc`, ['-p', `${root}tsconfig.build.json`], {
  stdio: 'inherit',
});
if (status === 0)
  for (const page of ['page', 'world/page'])
    cpSync(`${root}src/admin/${page}`, `${root}dist/admin/${page}`, { recursive: true });
process.exitCode = status ?? 1;

// Runs a TypeScript file of this repository on the pinned Node.js, installing first when needed.
import { spawn } from 'node:child_process';
import { ensureInstalled, environment, pinnedNode, root } from './toolchain.mjs';

ensureInstalled();
const [file = '', ...args] = process.argv.slice(2);
const child = spawn(pinnedNode, [`${root}${file}`, ...args], { stdio: 'inherit', env: environment });
process.on('SIGINT', () => undefined);
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => (process.exitCode = code ?? 1));

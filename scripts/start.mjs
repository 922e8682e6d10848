// `npm start`: the cluster, the shop and the dashboard, until Ctrl-C. Arguments go to `lockstep dev`.
import { spawn } from 'node:child_process';
import { ensureInstalled, environment, pinnedNode, root } from './toolchain.mjs';

ensureInstalled();
// `--demo` is the shop's: a page with a button that makes a mistake.
const given = process.argv.slice(2);
const demo = given.includes('--demo') ? ' --demo' : '';
const shop = `"${pinnedNode}" "${root}examples/shop/main.ts" --port 3000${demo}`;
const prepare = `"${pinnedNode}" "${root}examples/shop/prepare.ts"`;
const forRegions = ['--prepare', prepare, '--regions-definition', `${root}examples/shop/regions.ts`];
const words = ['dev', '--run', shop, ...forRegions, ...given.filter((word) => word !== '--demo')];
const child = spawn(pinnedNode, [`${root}src/cli/main.ts`, ...words], { stdio: 'inherit', env: environment });
// Ctrl-C reaches the child through the terminal; a signal to this process alone is passed on.
process.on('SIGINT', () => undefined);
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => (process.exitCode = code ?? 1));

#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// In the published package the program is compiled; in the repository its source runs as it is.
const built = new URL('../dist/cli/main.js', import.meta.url);
const source = new URL('../src/cli/main.ts', import.meta.url);
const main = existsSync(source) ? source : built;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  await import(main.href);
} else {
  // The repository pins a newer Node.js for itself; use it where the machine's own is too old.
  const pinned = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url));
  if (existsSync(pinned)) {
    const child = spawn(pinned, [fileURLToPath(main), ...process.argv.slice(2)], { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    child.on('exit', (code) => (process.exitCode = code ?? 1));
  } else {
    process.stderr.write(`lockstep: Node.js ${process.versions.node} is too old; install 22.18 or newer.\n`);
    process.exitCode = 1;
  }
}

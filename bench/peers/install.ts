// `npm run bench:peers`: installs from Debian what the bench compares with, or says what is missing.
import { spawnSync } from 'node:child_process';
import { findProgram, PEER_PROGRAMS } from './programs.ts';

const missing = PEER_PROGRAMS.filter((program) => findProgram(program) === null);
const packages = missing.map(({ debianPackage }) => debianPackage);
const mayInstall = process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0;
if (packages.length > 0 && mayInstall) {
  // Debian would start each as a service; the bench starts its own. Source: invoke-rc.d(8), RUNLEVEL.
  const env = { ...process.env, RUNLEVEL: '1', DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { stdio: ['ignore', 2, 2], env });
  const args = ['install', '-y', '-q', '--no-install-recommends', ...packages];
  spawnSync('apt-get', args, { stdio: ['ignore', 2, 2], env });
}
for (const program of PEER_PROGRAMS) {
  const path = findProgram(program);
  const words = path ?? `missing: apt-get install ${program.debianPackage} (as root)`;
  process.stdout.write(`${program.name.padEnd(10)} ${words}\n`);
}
if (PEER_PROGRAMS.some((program) => findProgram(program) === null)) process.exitCode = 1;

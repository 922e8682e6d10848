// `npm test`: types, lint, format, then every vitest project. Arguments go to vitest, e.g. `npm test -- --project unit`.
// `npm run check` is the first three alone, with what knip finds unused.
// The last line is `N passed, N failed, N skipped`.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ensureCompatInstalled,
  ensureEtcd,
  ensureInstalled,
  environment,
  pinnedNode,
  root,
} from './toolchain.mjs';

ensureInstalled();
const tools = `${root}node_modules/.bin`;
const env = { ...environment, PATH: `${tools}:${process.env.PATH}`, NODE_OPTIONS: '' };
const args = process.argv.slice(2);
const isCheck = args[0] === '--check';
if (needsCompat(args)) ensureCompatInstalled();
const isAll = !isCheck && !args.some((arg) => arg.startsWith('--project'));
if (isAll || args.join(' ').includes('integration')) ensureEtcd();

/** Static checks count as tests: each passes or fails as a whole. */
const checks = [
  ['types', 'tsc', ['-p', 'tsconfig.json']],
  [
    'lint',
    'oxlint',
    ['--type-aware', '--deny-warnings', 'src', 'test', 'examples', 'bench', 'scripts', 'bin'],
  ],
  ['format', 'prettier', ['--check', '--log-level=warn', '.']],
  ['unused', 'knip', []],
];
let passed = 0;
let failed = 0;
let skipped = 0;
// At once, for formatting alone takes as long as the others and uses one core.
if (args.length === 0 || isCheck)
  await Promise.all(checks.map(([name, program, programArgs]) => check(name, program, programArgs)));
if (!isCheck) runVitest();
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function runVitest() {
  // What agents load is kept only by a process that ends by itself, and the tests kill theirs.
  spawnSync(pinnedNode, [`${root}src/cli/main.ts`, '--help'], { cwd: root, env, stdio: 'ignore' });

  const folder = mkdtempSync(join(tmpdir(), 'lockstep-report-'));
  const report = join(folder, 'report.json');
  const vitest = spawnSync(
    pinnedNode,
    [
      `${root}node_modules/vitest/vitest.mjs`,
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...args,
    ],
    { cwd: root, env, stdio: 'inherit' },
  );
  try {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    passed += result.numPassedTests;
    failed += result.numFailedTests;
    skipped += result.numPendingTests + result.numTodoTests;
  } catch {
    failed++;
  }
  rmSync(folder, { recursive: true, force: true });
  // A file that cannot even be loaded has no failed test, but vitest's exit code tells.
  if (vitest.status !== 0 && failed === 0) failed = 1;
}

/** Type checks and lint read the compat tests too; a run of other projects alone does without. */
function needsCompat(vitestArgs) {
  return !vitestArgs.some((arg) => arg.startsWith('--project')) || vitestArgs.join(' ').includes('compat');
}

/** Prints what it said when it is done, so that two that run at once do not mix their lines. */
function check(name, program, programArgs) {
  const startedAt = Date.now();
  const said = [];
  return new Promise((resolve) => {
    const child = spawn(join(tools, program), programArgs, { cwd: root, env });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => said.push(bytes));
    child.on('error', (error) => said.push(Buffer.from(`${error.message}\n`)));
    child.on('close', (status) => {
      if (status === 0) passed++;
      else failed++;
      process.stdout.write(Buffer.concat(said));
      console.log(`${status === 0 ? '✓' : '✗'} ${name} (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`);
      resolve();
    });
  });
}

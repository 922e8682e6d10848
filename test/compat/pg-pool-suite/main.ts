// `npm run compat:pg-pool`: node-postgres' own tests for its pool, on a cluster. docs/pg-pool.md tells what stays different.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { parseArgs } from 'node:util';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { startTestCluster } from '../../../src/testing/index.ts';
import { leaderAddress } from '../pool-kinds.ts';

const root = join(import.meta.dirname, '../../..');
const KINDS = ['cluster', 'single', 'pg'];
/** What the tests import besides pg and the pool. */
const PACKAGES = ['co@4', 'expect.js@0.3', 'lodash@4', 'mocha@11', 'pg-cursor@2'];

const { values } = parseArgs({
  options: { as: { type: 'string', default: 'cluster' }, suite: { type: 'string' } },
});
if (!KINDS.includes(values.as)) throw new Error(`--as takes one of ${KINDS.join(', ')}.`);

const folder = mkdtempSync(join(tmpdir(), 'lockstep-pg-pool-'));
try {
  await prepare();
  process.exitCode = await run();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The tests as files, the packages they import, and the pool in the place of pg-pool's own. */
async function prepare(): Promise<void> {
  mkdirSync(join(folder, 'test'));
  if (values.suite === undefined) await fetchSuite(join(folder, 'test'));
  else cpSync(values.suite, join(folder, 'test'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"commonjs"}');
  const options = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error'];
  execFileSync('npm', ['install', ...options, ...PACKAGES], { cwd: folder, stdio: ['ignore', 2, 2] });
  for (const name of ['pg', 'pg-pool']) {
    rmSync(join(folder, 'node_modules', name), { recursive: true, force: true });
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  }
  const pool =
    values.as === 'pg' ? 'pg-pool' : join(root, 'test/compat/pg-pool-suite', `${values.as}-pool.ts`);
  writeFileSync(
    join(folder, 'index.js'),
    `const pool = require(${JSON.stringify(pool)});\nmodule.exports = pool.Pool ?? pool;\n`,
  );
}

/** Of the version of pg-pool that is installed here; the package on npm comes without them. */
async function fetchSuite(target: string): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules/pg-pool/package.json'), 'utf8')) as {
    version: string;
  };
  const url = `https://codeload.github.com/brianc/node-postgres/tar.gz/refs/tags/pg-pool@${version}`;
  const response = await fetch(url);
  if (!response.ok || response.body === null) throw new Error(`${url} answers ${response.status}.`);
  const archive = extract();
  const unpacked = (async () => {
    for await (const entry of archive) {
      const { name, type } = entry.header;
      if (type !== 'file' || !/^[^/]+\/packages\/pg-pool\/test\/[\w-]+\.js$/.test(name)) entry.resume();
      else {
        const chunks: Buffer[] = [];
        for await (const chunk of entry) chunks.push(chunk as Buffer);
        writeFileSync(join(target, basename(name)), Buffer.concat(chunks));
      }
    }
  })();
  await pipeline(Readable.fromWeb(response.body as ReadableStream), createGunzip(), archive);
  await unpacked;
}

interface Outcome {
  readonly passed: readonly string[];
  readonly failed: ReadonlyMap<string, string>;
}

/** In one process: a file, or one test of it. */
function runMocha(args: readonly string[], env: NodeJS.ProcessEnv): Outcome {
  const output = join(folder, 'outcome.json');
  rmSync(output, { force: true });
  const reporter = [
    '--reporter',
    'json',
    '--reporter-option',
    `output=${output}`,
    '--timeout',
    '10000',
    '--exit',
  ];
  const mocha = join(folder, 'node_modules/mocha/bin/mocha.js');
  spawnSync(process.execPath, [mocha, ...reporter, ...args], { cwd: folder, env, stdio: 'ignore' });
  const { passes, failures } = JSON.parse(readFileSync(output, 'utf8')) as Record<
    'passes' | 'failures',
    readonly { readonly fullTitle: string; readonly err: { readonly message?: string } }[]
  >;
  const failed = new Map(failures.map(({ fullTitle, err }) => [fullTitle, err.message ?? '']));
  return { passed: passes.map(({ fullTitle }) => fullTitle).filter((title) => !failed.has(title)), failed };
}

/** What one test throws late fails the next one of its file, so what fails is run once more, alone. */
function runFiles(env: NodeJS.ProcessEnv): Outcome {
  const passed: string[] = [];
  const failed = new Map<string, string>();
  for (const name of readdirSync(join(folder, 'test')).toSorted()) {
    const file = join('test', name);
    const whole = runMocha([file], env);
    passed.push(...whole.passed);
    for (const title of whole.failed.keys()) {
      const alone = runMocha([file, '--fgrep', title], env);
      const message = alone.failed.get(title);
      if (message === undefined) passed.push(title);
      else failed.set(title, message);
    }
    console.error(`· ${name}: ${whole.passed.length} of ${whole.passed.length + whole.failed.size} together`);
  }
  return { passed, failed };
}

function report({ passed, failed }: Outcome): number {
  for (const [title, message] of failed) console.log(`✗ ${title}: ${message.split('\n')[0]}`);
  console.log(`${passed.length} of ${passed.length + failed.size} pass`);
  return failed.size === 0 ? 0 : 1;
}

async function run(): Promise<number> {
  const cluster = await startTestCluster();
  try {
    const { host, port, user, password, database } = await leaderAddress(cluster);
    const servers = cluster.nodes.map((node) => ({ host: node.host, port: node.port }));
    const env = {
      ...process.env,
      PGHOST: host,
      PGPORT: String(port),
      PGUSER: user,
      PGPASSWORD: String(password),
      PGDATABASE: database,
      LOCKSTEP_SERVERS: JSON.stringify(servers),
    };
    return report(runFiles(env));
  } finally {
    await cluster[Symbol.asyncDispose]();
  }
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publint } from 'publint';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { startTestCluster, TestCluster } from '../../src/testing/index.ts';
import { AppProject } from './app-project.ts';
import { readSamples, SHOP_SQL } from './samples.ts';
import type { Sample } from './samples.ts';

let app: AppProject;

beforeAll(async () => {
  app = await AppProject.create();
});

afterAll(async () => {
  await app?.[Symbol.asyncDispose]();
});

describe('the published package', () => {
  it('is well-formed, with its code in it', async () => {
    const { messages } = await publint({ pkgDir: app.installed, level: 'warning' });
    expect(messages).toEqual([]);
    expect(await readFile(join(app.installed, 'dist/index.d.ts'), 'utf8')).toContain('connect');
  });

  it('has a command that runs without the source', async () => {
    expect(await app.run('node_modules/lockstep/bin/lockstep.js', ['--help'])).toContain('switchover');
  });

  it('runs where it is imported, and where it is required', async () => {
    await app.write('app.mjs', `import { connect } from 'lockstep'; console.log(typeof connect);`);
    await app.write('app.cjs', `console.log(typeof require('lockstep').connect);`);
    expect(await app.run('app.mjs')).toBe('function\n');
    expect(await app.run('app.cjs')).toBe('function\n');
  });
});

describe('the samples of README and docs, in a strict project', () => {
  let samples: Sample[];
  let cluster: TestCluster;

  beforeAll(async () => {
    samples = await readSamples();
    await Promise.all(['express', '@types/express', '@opentelemetry/api'].map((name) => app.add(name)));
    for (const [index, { asModule, asCommonJs }] of samples.entries()) {
      await app.write(`src/sample-${index}.mts`, asModule);
      await app.write(`src/sample-${index}.cts`, asCommonJs);
    }
    const testing = await import(join(app.installed, 'dist/testing/index.js'));
    cluster = await (testing as { startTestCluster: typeof startTestCluster }).startTestCluster();
    const pool = connect(cluster.url);
    await pool.query(SHOP_SQL);
    await pool.end();
  });

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  it('compile and run as modules and as CommonJS, against a cluster that the package started', async () => {
    expect(samples.length).toBeGreaterThan(10);
    await app.compile();
    const files = samples.flatMap(({ name, isRun }, index) =>
      isRun ? ['mjs', 'cjs'].map((ending) => [`${name} ${ending}`, `./out/sample-${index}.${ending}`]) : [],
    );
    await app.write('files.json', JSON.stringify(files));
    await app.write(
      'run.mjs',
      `import { readFileSync } from 'node:fs';
       for (const [name, path] of JSON.parse(readFileSync('files.json', 'utf8'))) {
         await import(path).then((sample) => sample.done).catch((cause) => { throw new Error(name, { cause }); });
         console.log(name);
       }
       process.exit();`,
    );
    const env = { DATABASE_URL: cluster.url, TOKEN_SECRET: 'a secret of the test app' };
    const ran = (await app.run('run.mjs', [], env)).trim().split('\n');
    expect(ran).toEqual(files.map(([name]) => name));
  });
});

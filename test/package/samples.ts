import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/**
 * The recipes of libraries have tests of their own (test/compat/orms.test.ts). Independent servers are none of the
 * cluster's, and their sample leaves the types of its collections to the reader.
 */
const LEFT_OUT = new Set(['docs/orms.md', 'docs/leaderless.md']);

/** They start clusters of their own, or need servers besides the cluster's. */
const ONLY_COMPILED = new Set(['docs/testing.md', 'docs/change-stream.md', 'docs/multi-leader.md']);

/** What every sample finds in its database. */
export const SHOP_SQL = `
  CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE inventory (product_id int PRIMARY KEY, stock int NOT NULL);
  CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id int NOT NULL);
  CREATE TABLE payments (order_id int NOT NULL);
  CREATE TABLE reviews (stars int NOT NULL);
  INSERT INTO products VALUES (7, 'Lamp');
  INSERT INTO inventory VALUES (7, 1000)`;

/** What a sample may take for granted of the app around it, in the order of need: name and declaration. */
const GIVEN: readonly (readonly [string, string])[] = [
  ['connect', `import { connect } from 'lockstep';`],
  ['LockstepError', `import { LockstepError } from 'lockstep';`],
  ['app', `import express from 'express'; const app = express();`],
  ['pool', 'const pool = connect(process.env.DATABASE_URL);'],
  ['session', 'const session = pool.session();'],
  ['token', 'const token = session.token ?? undefined;'],
  ['connectionString', 'const connectionString = process.env.DATABASE_URL;'],
  ['logger', 'const logger = { debug: (_details: object, _message: string): void => undefined };'],
  ['index', 'const index = { put: async (_row: unknown) => {}, remove: async (_row: unknown) => {} };'],
  ['requestId', `const requestId = crypto.randomUUID();`],
  ['job', `const job = { id: 1 };`],
  ['handle', 'async function handle(_job: { id: number }): Promise<void> {}'],
  ['publish', 'async function publish(_token: string | null): Promise<void> {}'],
  ['refresh', 'function refresh(_payload?: string): void {}'],
  ['restoreCart', 'async function restoreCart(_session: object): Promise<void> {}'],
  ['placeOrder', 'async function placeOrder(..._order: unknown[]): Promise<void> {}'],
];

/** One block of TypeScript of README or docs, with what it takes for granted. */
export interface Sample {
  /** Where it stands, such as `docs/client.md 2`. */
  readonly name: string;
  readonly isRun: boolean;
  /** As it would stand in an ES module, which waits for it. */
  readonly asModule: string;
  /** As it would stand in CommonJS; `done` settles when it has run. */
  readonly asCommonJs: string;
}

/** All samples, in the order of the files' names. */
export async function readSamples(): Promise<Sample[]> {
  const docs = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md')).toSorted();
  const files = ['README.md', ...docs.map((name) => `docs/${name}`)];
  const samples = files.filter((file) => !LEFT_OUT.has(file)).map(readSamplesOf);
  return (await Promise.all(samples)).flat();
}

async function readSamplesOf(file: string): Promise<Sample[]> {
  const text = await readFile(join(root, file), 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ''], index) => {
    const whole = `${declareGiven(code)}\n${code}`;
    const imports = whole.match(/^import .*?;/gm) ?? [];
    const body = whole.replaceAll(/^import .*?;/gm, '');
    return {
      name: `${file} ${index + 1}`,
      isRun: !ONLY_COMPILED.has(file),
      asModule: `${imports.join('\n')}\n${body}\nexport {};\n`,
      asCommonJs: `${imports.join('\n')}\nexport const done = (async () => {\n${body}\n})();\n`,
    };
  });
}

/** Declares what the sample uses and does not declare itself, and what that uses in turn. */
function declareGiven(code: string): string {
  const needed: string[] = [];
  for (const [name, declaration] of GIVEN.toReversed()) {
    const rest = [code, ...needed].join('\n');
    const isUsed = new RegExp(`(?<![.\\w'])${name}(?![\\w':])`).test(withoutComments(rest));
    const isDeclared = new RegExp(`^(import .*|.*(const|using) ([[{][^=]*)?)\\b${name}\\b`, 'm').test(rest);
    if (isUsed && !isDeclared) needed.unshift(declaration);
  }
  return needed.join('\n');
}

function withoutComments(code: string): string {
  return code.replaceAll(/\/\/.*$/gm, '');
}

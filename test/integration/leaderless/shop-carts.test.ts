import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApp } from '../../../examples/shop/app.ts';
import { createCardProvider, TEST_CARD } from '../../../examples/shop/card-provider.ts';
import { quorumCarts } from '../../../examples/shop/carts.ts';
import { openDeals } from '../../../examples/shop/flash-deal.ts';
import { createSchema } from '../../../examples/shop/schema.ts';
import { seedCatalogue } from '../../../examples/shop/seed/seed.ts';
import { connect } from '../../../src/index.ts';
import type { LockstepPool } from '../../../src/index.ts';
import { cart, quorum } from '../../../src/leaderless/index.ts';
import type { Quorum } from '../../../src/leaderless/index.ts';
import { until } from '../fixture.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../../src/cli/main.ts');

interface LeaderlessStatus {
  readonly isFounded: boolean;
  readonly hasQuorum: boolean;
  readonly acceptsWrites: boolean;
  readonly nodes: readonly { readonly name: string; readonly state: string; readonly dsn: string }[];
}

let folder: string;
let dev: ChildProcess;
let output = '';
let db: LockstepPool;
let kept: Quorum;
let app: ReturnType<typeof createApp>;

async function lockstep(...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [main, ...args], { cwd: folder });
  return stdout;
}

async function status(): Promise<LeaderlessStatus> {
  return JSON.parse(await lockstep('leaderless', 'status', '--json')) as LeaderlessStatus;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-leaderless-'));
  await chmod(folder, 0o755);
  const told = `"${process.execPath}" -e "console.log('APP SEES', process.env.DATABASE_URL, process.env.LEADERLESS_URLS)"`;
  dev = spawn(process.execPath, [main, 'dev', '--leaderless', '--nodes', '1', '--run', told], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [dev.stdout, dev.stderr])
    stream?.on('data', (chunk: Buffer) => (output += String(chunk)));
  const seen = await until(
    'the app was told where everything is',
    () => /APP SEES (\S+) (\S+) (\S+) (\S+)/.exec(output),
    120_000,
  ).catch((error: unknown) => {
    throw new Error(output, { cause: error });
  });
  const [, url = '', ...nodes] = seen;
  db = connect(url);
  const shopId = await createSchema(db);
  await seedCatalogue(db, { size: { products: 50, reviews: 50 } });
  kept = await quorum({ nodes: nodes.map((url, index) => ({ name: `q${index + 1}`, url })) });
  app = createApp({
    db,
    cards: createCardProvider(),
    shopId,
    carts: quorumCarts(kept.collection('carts', cart())),
    deals: openDeals(kept),
  });
});

afterAll(async () => {
  await kept?.close();
  await db?.end();
  if (dev?.exitCode === null) {
    const ended = once(dev, 'exit');
    dev.kill('SIGINT');
    await ended;
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** A browser: keeps cookies, sends JSON. */
function createVisitor(): (method: string, path: string, body?: unknown) => Promise<any> {
  const cookies = new Map<string, string>();
  return async (method, path, body) => {
    const response = await app.request(path, {
      method,
      headers: {
        'content-type': 'application/json',
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [name = '', value = ''] = line.split(';')[0]?.split(/=(.*)/) ?? [];
      cookies.set(name, value);
    }
    expect(response.status, await response.clone().text()).toBeLessThan(300);
    return response.json();
  };
}

function linesOf(body: { lines: { productId: number; quantity: number }[] }): Record<number, number> {
  return Object.fromEntries(body.lines.map(({ productId, quantity }) => [productId, quantity]));
}

/** Twelve want the one piece at once: one gets it, and is told so again. */
async function sellThePiece(visitor: ReturnType<typeof createVisitor>): Promise<void> {
  const all = [visitor, ...Array.from({ length: 11 }, createVisitor)];
  const answers = await Promise.all(all.map((each) => each('POST', '/api/deal')));
  // The next deal may begin meanwhile.
  for (const deal of new Set(answers.map((answer) => answer.deal as string)))
    expect(answers.filter((answer) => answer.deal === deal && answer.isYours)).toHaveLength(1);
}

test('the shop fills, changes and sells carts while any of their servers is dead, and nothing of them is lost', async () => {
  expect(await status()).toMatchObject({ isFounded: true, hasQuorum: true });
  const visitor = createVisitor();
  await visitor('POST', '/api/accounts', { email: 'c@example.com', name: 'Ada', password: 'correct horse' });
  const expected: Record<number, number> = {};
  const add = async (productId: number, quantity: number): Promise<void> => {
    expected[productId] = (expected[productId] ?? 0) + quantity;
    expect(linesOf(await visitor('POST', '/api/cart/items', { productId, quantity }))).toEqual(expected);
  };
  await add(1, 2);
  const isDown = (name: string): boolean =>
    kept.status().nodes.some((node) => node.name === name && node.state === 'down');
  const areUp = (): boolean => kept.status().nodes.every(({ state }) => state === 'up');
  for (const name of ['q1', 'q2', 'q3']) {
    await lockstep('kill', name);
    await until(`${name} is missed`, () => isDown(name));
    await add(1, 1);
    await add(10 + Number(name.slice(1)), 1);
    if (name === 'q1') await sellThePiece(visitor);
    if (name === 'q3') break;
    await lockstep('start', name);
    await until(`${name} is used again`, areUp);
  }
  expected[1] = 3;
  expect(linesOf(await visitor('PUT', '/api/cart/items/1', { quantity: 3 }))).toEqual(expected);
  expect(await status()).toMatchObject({ hasQuorum: true, acceptsWrites: true });

  // Two of three: no quorum any more, and a cart still takes what is put in.
  await lockstep('kill', 'q2');
  await until('one is left', () => isDown('q2') && isDown('q3'));
  expect(await lockstep('leaderless', 'status')).toContain('only "one" and "accept" work');
  await add(20, 1);
  await lockstep('start', 'q2');
  await lockstep('start', 'q3');
  await until('all are back', areUp);

  const sold = await visitor('POST', '/api/checkout', {
    orderKey: crypto.randomUUID(),
    shipTo: 'Ada, 12 Harbour Street, Northport',
    card: TEST_CARD,
  });
  expect(sold).toMatchObject({ isRepeat: false });
  expect((await visitor('GET', '/api/cart')).lines).toEqual([]);
  const { orders } = await visitor('GET', '/api/orders');
  expect(linesOf({ lines: orders[0].items })).toEqual(expected);
});

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { Browser } from './browser.ts';
import { WRITING_LIBRARIES } from './own-write-libraries.ts';
import type { WritingLibrary } from './own-write-libraries.ts';
import { Recipes } from './recipes.ts';
import { startLoginApp, STORES } from './session-stores.ts';
import type { WebApp } from './web-apps.ts';
import { pauseReplay } from '../integration/replay-pause.ts';

/** How often each library writes and reads back; `LOCKSTEP_OWN_WRITES=500` for a long look. */
const TIMES = Number(process.env['LOCKSTEP_OWN_WRITES'] ?? 100);
/** At once, so that followers have something to be behind with. */
const CALLERS = 4;

let cluster: TestCluster;
let recipes: Recipes;
let admin: LockstepPool;

beforeAll(async () => {
  [cluster, recipes] = await Promise.all([startTestCluster(), Recipes.write()]);
  admin = connect(cluster.url);
  await admin.query('CREATE TABLE pieces (name text PRIMARY KEY, stock integer NOT NULL)');
  const table = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql');
  await admin.query(await readFile(table, 'utf8'));
  await admin.query('CREATE TABLE brake ()');
});

afterAll(async () => {
  await admin?.end();
  await recipes?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

describe.each(Object.keys(WRITING_LIBRARIES))('%s', (name) => {
  let library: WritingLibrary;

  beforeAll(async () => {
    const open = WRITING_LIBRARIES[name];
    if (open === undefined) throw new Error(`${name} is not known.`);
    library = await open({ recipes, url: cluster.url });
  });

  afterAll(async () => {
    await library?.close();
  });

  it('shows to the process what it wrote, from followers', async () => {
    const { leader } = await library.pool.topology();
    const before = { ...library.pool.stats().readsByNode };
    const stale: string[] = [];
    const writeAndRead = async (caller: number): Promise<void> => {
      const piece = `${name} ${caller}`;
      for (let count = 1; count <= TIMES / CALLERS; count += 1) {
        await library.write(piece, count);
        const read = await library.read(piece);
        if (read !== count) stale.push(`${piece}: ${read} instead of ${count}`);
      }
    };
    await Promise.all(Array.from({ length: CALLERS }, (_, caller) => writeAndRead(caller)));
    expect(stale).toEqual([]);
    const reads = Object.entries(library.pool.stats().readsByNode).map(
      ([node, count]) => [node, count - (before[node] ?? 0)] as const,
    );
    const all = reads.reduce((sum, [, count]) => sum + count, 0);
    const onLeader = reads.find(([node]) => node === leader)?.[1] ?? 0;
    console.log(
      `${name}: 0 of ${TIMES} reads stale, ${Math.round((100 * (all - onLeader)) / all)} % on followers`,
    );
    expect(onLeader).toBeLessThan(all / 2);
  });

  it('shows it also while followers stand still, where a blind read would not', async () => {
    const piece = `${name} paused`;
    await library.write(piece, 1);
    expect(await library.read(piece)).toBe(1);
    await using _paused = await pauseReplay(cluster, admin);
    await library.write(piece, 2);
    // A session that has neither written nor read has nothing to wait for.
    expect(await library.pool.withSession({}, () => library.read(piece))).toBe(1);
    expect(await library.read(piece)).toBe(2);
  });
});

/** Two processes of one app share nothing but the cluster and the secret. */
it('express-session with connect-pg-simple logs nobody out, in whichever process the next request is', async () => {
  const open = (): LockstepPool =>
    connect({ connectionString: cluster.url, tokenSecret: 'a secret of the test app' });
  const pools = [open(), open()] as const;
  const start = (pool: LockstepPool): Promise<WebApp> =>
    startLoginApp(pool, STORES['connect-pg-simple'](pool));
  try {
    await using first = await start(pools[0]);
    await using second = await start(pools[1]);
    const loggedOut: string[] = [];
    const loginAndLook = async (caller: number): Promise<void> => {
      for (let count = 1; count <= TIMES / CALLERS; count += 1) {
        const browser = new Browser();
        const how = ['json', 'redirect', 'head', 'empty'][count % 4];
        const [here, there] = count % 2 === 0 ? [first, second] : [second, first];
        await browser.fetch(here, `/login/${how}`, { method: 'POST' });
        const user = await (await browser.fetch(there, '/me')).json();
        if (user !== 'ada') loggedOut.push(`caller ${caller}, login ${count} (${how}): ${user}`);
      }
    };
    await Promise.all(Array.from({ length: CALLERS }, (_, caller) => loginAndLook(caller)));
    console.log(`express-session: ${loggedOut.length} of ${TIMES} logged out`);
    expect(loggedOut).toEqual([]);
  } finally {
    await Promise.all(pools.map((pool) => pool.end()));
  }
});

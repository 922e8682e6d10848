import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, nodeSession } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { Browser } from './browser.ts';
import { SESSION_TABLE_SQL, startLoginApp, STORES } from './session-stores.ts';
import { listening, WEB_APPS } from './web-apps.ts';

let cluster: TestCluster;
/** Two processes of one app share nothing but the cluster and the secret. */
let first: LockstepPool;
let second: LockstepPool;
let reader: pg.Client;

beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 2 });
  const open = (): LockstepPool =>
    connect({ connectionString: cluster.url, tokenSecret: 'a secret of the test app' });
  first = open();
  second = open();
  await first.query('CREATE TABLE item (id int PRIMARY KEY)');
  await first.query(SESSION_TABLE_SQL);
  await first.query('CREATE TABLE brake ()');
  await stopReplay();
  await Promise.all([first.topology(), second.topology()]);
});

afterAll(async () => {
  await reader?.end();
  await Promise.all([first?.end(), second?.end()]);
  await cluster?.[Symbol.asyncDispose]();
});

/** The follower waits for a reader of a table that the leader truncates, and so shows nothing newer. */
async function stopReplay(): Promise<void> {
  const leader = await cluster.leader();
  reader = new pg.Client(cluster.nodes.find(({ name }) => name !== leader)?.dsn);
  await reader.connect();
  const deadlineMs = performance.now() + 20_000;
  for (;;) {
    const { rows } = await reader.query(`SELECT to_regclass('brake') IS NOT NULL AS exists`);
    if (rows[0].exists) break;
    if (performance.now() > deadlineMs) throw new Error('The follower does not get the table.');
  }
  // Long enough for the whole file; PostgreSQL would else end the reader and go on.
  await reader.query('BEGIN');
  await reader.query('SELECT FROM brake');
  await first.query({ text: 'TRUNCATE brake', durability: 'sync' });
}

let nextId = 0;

describe.each(Object.entries(WEB_APPS))('%s', (_name, start) => {
  const post = (id: number): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id }),
  });

  it('shows a browser what it wrote, in any process, and nobody else before the follower has it', async () => {
    await using here = await start(first);
    await using there = await start(second);
    const browser = new Browser();
    const id = (nextId += 1);
    const written = await browser.fetch(here, '/item', post(id));
    expect(written.status).toBe(200);
    const own = written.headers.getSetCookie().filter((cookie) => cookie.startsWith('lockstep.'));
    expect(own).toEqual([
      expect.stringMatching(
        /^lockstep\.\d=[\dA-F/.a-z-]+\.[\w-]{22}; Max-Age=3600; Path=\/; HttpOnly; SameSite=Lax$/,
      ),
    ]);
    for (const app of [here, there]) {
      expect(await (await browser.fetch(app, `/item/${id}`)).json()).toBe(true);
      // The follower lacks it: else the line above would prove nothing.
      expect(await (await new Browser().fetch(app, `/item/${id}`)).json()).toBe(false);
    }
  });

  it.each(['stream', 'redirect'])(
    'keeps its cookie and the app’s own when the answer is a %s',
    async (kind) => {
      await using here = await start(first);
      await using there = await start(second);
      const browser = new Browser();
      const id = (nextId += 1);
      const written = await browser.fetch(here, `/${kind}/${id}`, { method: 'POST' });
      if (kind === 'stream') expect(await written.text()).toBe('ab');
      else expect(written.status).toBe(302);
      expect(browser.header).toMatch(/lockstep\.\d=/);
      const setsOwn = kind === 'stream' || written.headers.getSetCookie().some((c) => c.startsWith('app'));
      if (setsOwn) expect(browser.header).toMatch(/app=1/);
      expect(await (await browser.fetch(there, `/item/${id}`)).json()).toBe(true);
    },
  );

  it('answers as to a new browser when the cookie is forged or cut, and counts it', async () => {
    await using here = await start(first);
    const browser = new Browser();
    const id = (nextId += 1);
    await browser.fetch(here, '/item', post(id));
    const before = first.stats().tokensRefused;
    const forged = [
      browser.header.replace(/=[^;]+$/, (value) => value.replace(/\/[^.]+/, '/FFFFFFFF')),
      browser.header.slice(0, -1),
      'lockstep.0=9-FFFFFFFF/FFFFFFFF',
      'lockstep.0=%%%',
    ];
    for (const cookie of forged) {
      const response = await here.fetch(`/item/${id}`, { headers: { cookie } });
      expect(response.status).toBe(200);
      expect(await response.json()).toBe(false);
    }
    expect(first.stats().tokensRefused - before).toBe(forged.length);
  });
});

describe.each(Object.entries(STORES))('express-session with %s', (_name, createStore) => {
  it.each(['json', 'redirect', 'head', 'empty'])(
    'is logged in at the next request, in any process, when the login answers with %s',
    async (how) => {
      await using here = await startLoginApp(first, createStore(first));
      await using there = await startLoginApp(second, createStore(second));
      const browser = new Browser();
      const login = await browser.fetch(here, `/login/${how}`, { method: 'POST' });
      expect(login.status).toBe({ json: 200, redirect: 302, head: 204, empty: 200 }[how]);
      expect(await login.text()).toBe(
        how === 'json' ? '{}' : how === 'redirect' ? 'Found. Redirecting to /me' : '',
      );
      for (const app of [there, here]) expect(await (await browser.fetch(app, '/me')).json()).toBe('ada');
      // The follower lacks the session: else the line above would prove nothing.
      const withoutToken = browser.header.replace(/lockstep\.\d=[^;]*;? ?/g, '');
      expect(await (await there.fetch('/me', { headers: { cookie: withoutToken } })).json()).toBe(null);
    },
  );
});

it('holds an answer that is streamed no longer than the write in front of it', async () => {
  await using app = await listening(
    createServer(
      nodeSession(first)(async (_request, response) => {
        const written = first.query('INSERT INTO item VALUES ($1)', [(nextId += 1)]);
        await pipeline(Readable.from(Array.from({ length: 200 }, () => 'x'.repeat(1024))), response);
        await written;
      }) as RequestListener,
    ),
  );
  const answer = await app.fetch('/');
  expect(answer.headers.getSetCookie().join()).toContain('lockstep.');
  expect((await answer.text()).length).toBe(200 * 1024);
});

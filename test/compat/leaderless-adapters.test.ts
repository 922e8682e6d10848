import { createServer } from 'node:http';
import fastifyCookie from '@fastify/cookie';
import fastifySession from '@fastify/session';
import { keyvApiTests, keyvIteratorTests, keyvNamespaceTest, keyvValueTests } from '@keyv/test-suite';
import express from 'express';
import type { Express } from 'express';
import { rateLimit } from 'express-rate-limit';
import session from 'express-session';
import Fastify from 'fastify';
import { Keyv } from 'keyv';
import { createStorage } from 'unstorage';
import * as vitest from 'vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createExpressStore, createFastifyStore } from '../../src/leaderless/adapters/express-session.ts';
import type { SessionFields } from '../../src/leaderless/adapters/express-session.ts';
import { KeyvQuorum } from '../../src/leaderless/adapters/keyv.ts';
import { RateLimitStore } from '../../src/leaderless/adapters/rate-limit.ts';
import type { RateWindow } from '../../src/leaderless/adapters/rate-limit.ts';
import { quorumDriver } from '../../src/leaderless/adapters/unstorage.ts';
import { cas, lww, map } from '../../src/leaderless/index.ts';
import type { MapCollection, Quorum } from '../../src/leaderless/index.ts';
import { until } from '../integration/fixture.ts';
import { IndependentServers } from '../integration/leaderless/servers.ts';
import { listening } from './web-apps.ts';
import type { WebApp } from './web-apps.ts';

/** Pairs of requests at once on one session. The bar is 10,000: LOCKSTEP_SESSION_PAIRS=10000. */
const PAIRS = Number(process.env['LOCKSTEP_SESSION_PAIRS'] ?? 150);

let servers: IndependentServers;
let one: Quorum;
let two: Quorum;

beforeAll(async () => {
  servers = await IndependentServers.start();
  one = await servers.quorum({ deadlineMs: 20_000, statementTimeoutMs: 10_000 });
  two = await servers.quorum({ deadlineMs: 20_000, statementTimeoutMs: 10_000 });
});

afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
});

type Ask = (path: string) => Promise<unknown>;

/** Two requests at once, each of which sets a field of its own and sees to it that both were under way. */
async function runPairs(ask: Ask, pairs: number): Promise<number> {
  let lost = 0;
  for (let pair = 0; pair < pairs; pair++) {
    const field = pair % 20;
    await Promise.all([ask(`/set/a${field}/${pair}`), ask(`/set/b${field}/${pair}`)]);
    const seen = (await ask('/session')) as Record<string, string>;
    if (seen[`a${field}`] !== String(pair)) lost += 1;
    if (seen[`b${field}`] !== String(pair)) lost += 1;
  }
  return lost;
}

/** One browser, which keeps its cookie. Apps are asked in turn. */
function browser(...apps: readonly Pick<WebApp, 'fetch'>[]): Ask {
  let cookie = '';
  let turn = 0;
  return async (path) => {
    turn += 1;
    const app = apps[turn % apps.length] as WebApp;
    const response = await app.fetch(path, { headers: cookie === '' ? {} : { cookie } });
    const [given] = response.headers.getSetCookie();
    if (given !== undefined) cookie = given.split(';')[0] ?? '';
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
}

function sessionsOf(quorum: Quorum, name: string): MapCollection<SessionFields> {
  return quorum.collection(name, map<SessionFields>(), { ttl: '1h' });
}

describe('the store for express-session', () => {
  const openApp = (quorum: Quorum): Promise<WebApp> => {
    const app = express();
    app.use(
      session({
        secret: 'for this test',
        resave: false,
        saveUninitialized: false,
        store: createExpressStore(session.Store, sessionsOf(quorum, 'express')),
      }),
    );
    app.get('/set/:field/:value', (request, response) => {
      const fields = request.session as unknown as Record<string, string>;
      fields[request.params.field] = request.params.value;
      response.json({});
    });
    app.get('/session', (request, response) => void response.json(request.session));
    app.get('/leave', (request, response) => {
      request.session.destroy((error) => void response.json({ error: error ?? null }));
    });
    return listening(createServer(app));
  };

  it('merges requests that run at once, also on two servers of the app', async () => {
    await using here = await openApp(one);
    await using there = await openApp(two);
    const ask = browser(here, there);
    await ask('/set/user/ada');
    expect(await runPairs(ask, PAIRS)).toBe(0);
    expect(await ask('/session')).toMatchObject({ user: 'ada' });
    await ask('/leave');
    expect(await ask('/session')).not.toHaveProperty('user');
  }, 600_000);

  it('does not bring back a session that was destroyed while a request ran', async () => {
    const sessions = sessionsOf(one, 'express-races');
    const store = createExpressStore(session.Store, sessions);
    const call = <T>(run: (done: (error: unknown, value?: T) => void) => void): Promise<T | undefined> =>
      new Promise((resolve, reject) =>
        run((error, value) =>
          error === null || error === undefined ? resolve(value) : reject(error as Error),
        ),
      );
    const cookie = { originalMaxAge: 60_000, httpOnly: true, path: '/' };
    await call((done) => store.set('s', { cookie, user: 'ada', cart: 1 }, done));
    const found = await call<SessionFields | null>((done) => store.get('s', done));
    expect(found).toMatchObject({ cookie, user: 'ada', cart: 1 });
    const running = store.createSession({} as never, found as never) as unknown as Record<string, unknown>;
    await call((done) => store.destroy('s', done));
    running['cart'] = 2;
    await call((done) => store.set('s', running, done));
    expect(await call((done) => store.get('s', done))).toBeNull();
    expect((await sessions.get('s')).value).toEqual({ cart: 2 });
  });

  it('ends a session when its cookie ends, whoever still sends it', async () => {
    const store = createExpressStore(session.Store, one.collection('express-ends', map<SessionFields>()));
    const done = (run: (end: (error?: unknown, found?: unknown) => void) => void): Promise<unknown> =>
      new Promise((resolve, reject) =>
        run((error, found) => (error ? reject(error as Error) : resolve(found))),
      );
    const inMs = (ms: number): SessionFields => ({
      cookie: { originalMaxAge: ms, expires: new Date(Date.now() + ms).toISOString() },
      user: 'ada',
    });
    await done((end) => store.set('kept', inMs(600_000), end));
    await done((end) => store.set('s', inMs(300), end));
    await until('it has ended', async () => (await done((end) => store.get('s', end))) === null);
    expect(await done((end) => store.get('kept', end))).toMatchObject({ user: 'ada' });
    await done((end) => store.touch('kept', inMs(1), end));
    await until('its end came nearer', async () => (await done((end) => store.get('kept', end))) === null);
  });
});

describe('the store for @fastify/session', () => {
  it('merges requests that run at once', async () => {
    const app = Fastify();
    await app.register(fastifyCookie);
    await app.register(fastifySession, {
      secret: 'a secret with more than thirty-two characters',
      cookie: { secure: false },
      store: createFastifyStore(sessionsOf(one, 'fastify')) as never,
    });
    app.get<{ Params: { field: string; value: string } }>('/set/:field/:value', async (request) => {
      (request.session as unknown as Record<string, string>)[request.params.field] = request.params.value;
      return {};
    });
    app.get('/session', async (request) => JSON.parse(JSON.stringify(request.session)) as unknown);
    try {
      const url = await app.listen({ port: 0, host: '127.0.0.1' });
      const ask = browser({ fetch: (path, init) => fetch(url + path, init) });
      await ask('/set/user/ada');
      expect(await runPairs(ask, Math.min(PAIRS, 50))).toBe(0);
      expect(await ask('/session')).toMatchObject({ user: 'ada' });
    } finally {
      await app.close();
    }
  });
});

describe('the store for Keyv', () => {
  const open = (): never => new KeyvQuorum(one.collection('keyv', lww())) as never;
  const suite = vitest as never;
  // Some of it must be through before a second is over, which a busy machine may miss.
  describe('passes the suite of Keyv', { retry: 3 }, () => {
    describe('api', () => keyvApiTests(suite, Keyv as never, open));
    describe('values', () => keyvValueTests(suite, Keyv as never, open));
    describe('iterator', () => keyvIteratorTests(suite, Keyv as never, open));
    describe('namespaces', () => keyvNamespaceTest(suite, Keyv as never, open));
  });

  it('ends values at the servers', async () => {
    const values = one.collection('keyv-ends', lww<never>());
    const keyv = new Keyv({ store: new KeyvQuorum(values) as never, namespace: 'n' });
    await keyv.set('kept', 'v', 600_000);
    await keyv.set('k', 'v', 150);
    expect(await keyv.get('kept')).toBe('v');
    await until('it has ended', async () => (await values.get('n:k')).value === undefined);
  });
});

describe('the driver for unstorage', () => {
  it('does what unstorage asks of its drivers', async () => {
    const driver = quorumDriver(one.collection('unstorage', lww<string>()), { base: 'app' });
    const storage = createStorage({ driver: driver as never });
    const others = createStorage({
      driver: quorumDriver(one.collection('unstorage', lww<string>()), { base: 'apple' }) as never,
    });
    await others.setItem('kept', 'yes');
    await storage.setItem('s1:a', 'test_data');
    await storage.setItem('s2:a', 'test_data');
    await storage.setItem('s3:a?q=1', 'test_data');
    expect(await storage.hasItem('s1:a')).toBe(true);
    expect(await storage.getItem('s1:a')).toBe('test_data');
    expect(await storage.getItem('s3:a?q=2')).toBe('test_data');
    expect((await storage.getKeys()).toSorted()).toEqual(['s1:a', 's2:a', 's3:a']);
    expect(await storage.getKeys('s1')).toEqual(['s1:a']);
    await storage.setItem('/data/test.json', { json: 'works' });
    expect(await storage.getItem('/data/test.json')).toEqual({ json: 'works' });
    await storage.setItem('/data/true.json', true);
    expect(await storage.getItem('/data/true.json')).toBe(true);
    const bytes = new Uint8Array([0, 1, 250, 255]);
    await storage.setItemRaw('/data/raw.bin', bytes);
    expect(Buffer.from((await storage.getItemRaw('/data/raw.bin')) as Uint8Array)).toEqual(
      Buffer.from(bytes),
    );
    await storage.setItems([
      { key: 'many:a', value: 'a' },
      { key: 'many:b', value: 'b' },
    ]);
    expect(await storage.getItems(['many:a', 'many:b', 'many:c'])).toEqual([
      { key: 'many:a', value: 'a' },
      { key: 'many:b', value: 'b' },
      { key: 'many:c', value: null },
    ]);
    await storage.removeItem('s1:a');
    expect(await storage.hasItem('s1:a')).toBe(false);
    expect(await storage.getItem('s1:a')).toBeNull();
    await driver.clear('data:');
    expect(await storage.getKeys('data')).toEqual([]);
    await storage.clear();
    expect(await storage.getKeys()).toEqual([]);
    expect(await others.getItem('kept')).toBe('yes');
    await storage.dispose();
  });
});

describe('the store for express-rate-limit', () => {
  it('lets through just as many as the limit says, counted in two processes', async () => {
    const openApp = (quorum: Quorum): { app: Express; store: RateLimitStore } => {
      const app = express();
      const store = new RateLimitStore(quorum.collection('limits', cas<RateWindow>()), { prefix: 'web:' });
      app.use(rateLimit({ windowMs: 60_000, limit: 25, store, validate: false, keyGenerator: () => 'ada' }));
      app.get('/', (_request, response) => void response.json({}));
      return { app, store };
    };
    const [here, there] = [openApp(one), openApp(two)];
    await using first = await listening(createServer(here.app));
    await using second = await listening(createServer(there.app));
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const response = await (index % 2 === 0 ? first : second).fetch('/');
        await response.arrayBuffer();
        return response.status;
      }),
    );
    expect(answers.filter((status) => status === 200)).toHaveLength(25);
    expect(await here.store.get('ada')).toMatchObject({ totalHits: 60 });
    await here.store.decrement('ada');
    expect(await there.store.get('ada')).toMatchObject({ totalHits: 59 });
    await there.store.resetKey('ada');
    expect(await here.store.get('ada')).toBeUndefined();
  });

  it('begins a new window when one has ended', async () => {
    let nowMs = 1_000;
    const store = new RateLimitStore(one.collection('windows', cas<RateWindow>()), { now: () => nowMs });
    store.init({ windowMs: 500 });
    await store.increment('k');
    expect(await store.increment('k')).toEqual({ totalHits: 2, resetTime: new Date(1_500) });
    nowMs = 1_500;
    expect(await store.increment('k')).toEqual({ totalHits: 1, resetTime: new Date(2_000) });
  });

  it('frees windows that ended, with the hits of others', async () => {
    let nowMs = 1_000;
    const windows = one.collection('freed', cas<RateWindow>());
    const store = new RateLimitStore(windows, { now: () => nowMs });
    store.init({ windowMs: 500 });
    for (const key of ['a', 'b', 'c']) await store.increment(key);
    nowMs = 1_400;
    await store.increment('c');
    nowMs = 1_600;
    await store.increment('d');
    await until('the first window is freed', async () => (await windows.get('a')).value === undefined);
    await until('the second too', async () => (await windows.get('b')).value === undefined);
    // One is freed when another hit comes, and what its caller counts meanwhile is not lost.
    expect((await windows.get('c')).value).toEqual({ hits: 2, endsAtMs: 1_500 });
    expect(await store.increment('c')).toMatchObject({ totalHits: 1 });
    expect((await windows.get('c')).value).toEqual({ hits: 1, endsAtMs: 2_100 });
  });
});

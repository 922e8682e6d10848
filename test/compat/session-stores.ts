import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { callbackify } from 'node:util';
import createPgStore from 'connect-pg-simple';
import express from 'express';
import type { Express } from 'express';
import session from 'express-session';
import type { SessionData, Store } from 'express-session';
import { expressSession } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { listening } from './web-apps.ts';
import type { WebApp } from './web-apps.ts';

declare module 'express-session' {
  interface SessionData {
    user?: string;
  }
}

/** The table that connect-pg-simple brings along. */
export const SESSION_TABLE_SQL = `CREATE TABLE session (sid text PRIMARY KEY, sess json NOT NULL, expire timestamp NOT NULL)`;

type Done = (error?: unknown, data?: SessionData | null) => void;

/** As stores of query builders do: it takes a client, some turns later, and writes in a transaction. */
class TransactionStore extends session.Store {
  readonly #pool: LockstepPool;

  constructor(pool: LockstepPool) {
    super();
    this.#pool = pool;
  }

  override get(sid: string, done: Done): void {
    callbackify(() => this.#find(sid))(done);
  }

  override set(sid: string, data: SessionData, done: Done = () => undefined): void {
    callbackify(() => this.#save(sid, data))(done);
  }

  override destroy(_sid: string, done: Done = () => undefined): void {
    done();
  }

  async #find(sid: string): Promise<SessionData | null> {
    const { rows } = await this.#pool.query('SELECT sess FROM session WHERE sid = $1', [sid]);
    return rows[0]?.sess ?? null;
  }

  async #save(sid: string, data: SessionData): Promise<void> {
    await Promise.resolve();
    const client = await this.#pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('DELETE FROM session WHERE sid = $1', [sid]);
      const text = `INSERT INTO session VALUES ($1, $2, now() + interval '1 day')`;
      await client.query(text, [sid, JSON.stringify(data)]);
      await client.query('COMMIT');
    } finally {
      client.release();
    }
  }
}

type StoreName = 'connect-pg-simple' | 'a store that writes in transactions';

export const STORES: Readonly<Record<StoreName, (pool: LockstepPool) => Store>> = {
  'connect-pg-simple': (pool) => {
    const PgStore = createPgStore(session);
    return new PgStore({ pool, pruneSessionInterval: false });
  },
  'a store that writes in transactions': (pool) => new TransactionStore(pool),
};

/** `POST /login/<how it answers>`, and `GET /me`, which tells who is logged in. */
export async function startLoginApp(pool: LockstepPool, store: Store): Promise<WebApp> {
  const app: Express = express();
  app.use(expressSession(pool));
  app.use(session({ store, secret: 'a secret', resave: false, saveUninitialized: false }));
  app.post('/login/:how', (request, response) => {
    request.session.user = 'ada';
    if (request.params.how === 'json') response.json({});
    else if (request.params.how === 'redirect') response.redirect('/me');
    else if (request.params.how === 'head') response.writeHead(204, { 'x-own': '1' }).end();
    else response.end();
  });
  app.get('/me', (request, response) => {
    response.json(request.session.user ?? null);
  });
  return listening(createServer(app as RequestListener));
}

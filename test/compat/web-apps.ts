import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import { expressSession, fastifySession, honoSession, nodeSession, webSession } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';

/** One process of an app: what it answers to a request. */
export interface WebApp extends AsyncDisposable {
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

/** Somewhere deep inside, where nobody hands a session on. */
async function write(pool: LockstepPool, id: number): Promise<void> {
  await turn();
  await pool.query('INSERT INTO item VALUES ($1)', [id]);
}

async function find(pool: LockstepPool, id: number): Promise<boolean> {
  await turn();
  const { rows } = await pool.query('SELECT id FROM item WHERE id = $1', [id]);
  return rows.length === 1;
}

function inPieces(): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pieces = ['a', 'b'].map((text) => Uint8Array.from(new TextEncoder().encode(text)));
  return new ReadableStream({
    pull(controller) {
      const piece = pieces.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
}

const idOf = (path: string | undefined): number => Number(/\d+$/.exec(path ?? '')?.[0]);

/** Serves on a port of its own, until it is disposed of. */
export async function listening(server: Server): Promise<WebApp> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    fetch: (path, init) => fetch(`http://127.0.0.1:${port}${path}`, { redirect: 'manual', ...init }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const here = (handle: (request: Request) => Response | Promise<Response>): WebApp => ({
  fetch: async (path, init) => handle(new Request(`http://localhost${path}`, init)),
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

/**
 * Each app takes `POST /item` with the id as JSON, `POST /stream/<id>`, which answers in pieces after
 * writing, `POST /redirect/<id>`, and `GET /item/<id>`, which tells whether it is there. Each sets a cookie
 * of its own beside the session's.
 */
export const WEB_APPS: Readonly<Record<string, (pool: LockstepPool) => Promise<WebApp>>> = {
  express: (pool) => {
    const app = express();
    app.use(expressSession(pool));
    app.use(express.json());
    app.post('/item', async (request, response) => {
      await write(pool, request.body.id);
      response.cookie('app', '1').json({});
    });
    app.post('/stream/:id', async (request, response) => {
      await write(pool, Number(request.params.id));
      response.cookie('app', '1').write('a');
      response.end('b');
    });
    app.post('/redirect/:id', async (request, response) => {
      await write(pool, Number(request.params.id));
      response.cookie('app', '1').redirect('/');
    });
    app.get('/item/:id', async (request, response) => {
      response.json(await find(pool, Number(request.params.id)));
    });
    return listening(createServer(app as RequestListener));
  },

  fastify: async (pool) => {
    const app = fastify();
    void app.register(fastifySession(pool));
    app.post<{ Body: { id: number } }>('/item', async (request, reply) => {
      await write(pool, request.body.id);
      return reply.header('set-cookie', 'app=1').send({});
    });
    app.post<{ Params: { id: string } }>('/stream/:id', async (request, reply) => {
      await write(pool, Number(request.params.id));
      reply.hijack();
      reply.raw.writeHead(200, { 'Set-Cookie': 'app=1' });
      reply.raw.write('a');
      reply.raw.end('b');
    });
    app.post<{ Params: { id: string } }>('/redirect/:id', async (request, reply) => {
      await write(pool, Number(request.params.id));
      return reply.header('set-cookie', 'app=1').redirect('/');
    });
    app.get<{ Params: { id: string } }>('/item/:id', async (request) =>
      find(pool, Number(request.params.id)),
    );
    await app.ready();
    return {
      ...(await listening(app.server)),
      [Symbol.asyncDispose]: () => app.close(),
    };
  },

  'node:http and Next pages': (pool) => {
    const handler = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const { method, url } = request;
      if (method === 'GET') {
        response.end(JSON.stringify(await find(pool, idOf(url))));
      } else if (url === '/item') {
        let body = '';
        for await (const piece of request) body += String(piece);
        await write(pool, JSON.parse(body).id);
        response.writeHead(200, ['Set-Cookie', 'app=1']).end('{}');
      } else if (url?.startsWith('/stream')) {
        await write(pool, idOf(url));
        response.setHeader('Set-Cookie', ['app=1']).flushHeaders();
        response.end('ab');
      } else {
        await write(pool, idOf(url));
        response.writeHead(302, 'Found', { Location: '/', 'set-cookie': 'app=1' }).end();
      }
    };
    return listening(createServer(nodeSession(pool)(handler) as RequestListener));
  },

  hono: (pool) => {
    const app = new Hono();
    app.use(honoSession(pool));
    app.post('/item', async (c) => {
      await write(pool, (await c.req.json()).id);
      c.header('set-cookie', 'app=1');
      return c.json({});
    });
    app.post('/stream/:id', async (c) => {
      await write(pool, Number(c.req.param('id')));
      c.header('set-cookie', 'app=1');
      return c.body(inPieces());
    });
    app.post('/redirect/:id', async (c) => {
      await write(pool, Number(c.req.param('id')));
      c.header('set-cookie', 'app=1');
      return c.redirect('/');
    });
    app.get('/item/:id', async (c) => c.json(await find(pool, Number(c.req.param('id')))));
    return Promise.resolve(here((request) => app.fetch(request)));
  },

  'Web handlers and Next routes': (pool) => {
    const handler = async (request: Request): Promise<Response> => {
      const path = new URL(request.url).pathname;
      if (request.method === 'GET') return Response.json(await find(pool, idOf(path)));
      const id = path === '/item' ? ((await request.json()) as { id: number }).id : idOf(path);
      await write(pool, id);
      if (path.startsWith('/redirect')) return Response.redirect('http://localhost/');
      const headers = { 'set-cookie': 'app=1' };
      return new Response(path === '/item' ? '{}' : inPieces(), { headers });
    };
    const wrapped = webSession(pool)(handler);
    return Promise.resolve(here(wrapped));
  },
};

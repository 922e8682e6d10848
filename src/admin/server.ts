import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';

import { createBoundedServer } from '../http/bounded-server.ts';
import type { BoundedServer } from '../http/bounded-server.ts';
import { LockstepError } from '../model/errors.ts';
import { loadAssets } from './assets.ts';
import type { Asset } from './assets.ts';
import { createCommandRoutes, refuse } from './commands.ts';
import { toErrorAnswer } from './core/error-answer.ts';
import { isLoopbackHost } from './core/guard.ts';
import { createRescueRoutes } from './rescue-routes.ts';
import { createEventStreams } from './event-stream.ts';
import type { EventStreams } from './event-stream.ts';
import { createHistory } from './history.ts';
import type { History } from './history.ts';
import type { AdminLogger, AdminSource, DashboardLinks } from './source.ts';

const SAMPLE_EVERY_MS = 500;
const HISTORY_MS = 5 * 60 * 1000;

export interface AdminServerOptions {
  /** Only loopback: the page and its data are readable without a secret. */
  readonly host: '127.0.0.1';
  /** 0 takes any free port. */
  readonly port: number;
  readonly source: AdminSource;
  readonly links?: DashboardLinks;
  readonly logger?: AdminLogger;
}

export interface AdminServer {
  /** Base URL without a slash at its end. */
  readonly url: string;
  readonly port: number;
  /** Ends every open connection too. */
  close(): Promise<void>;
}

/**
 * Serves the dashboard page, its live data and the commands of one cluster on loopback. Requests whose
 * Host header names anything but this machine are refused; no other site may read an answer (no CORS).
 * Throws CONFIG_INVALID when the port is taken or not allowed; the caller chooses the next one.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const history = createHistory(HISTORY_MS / SAMPLE_EVERY_MS);
  const streams = createEventStreams();
  const openStream: BoundedServer['openStream'] = (request, response) =>
    bounded.openStream(request, response);
  const app = createApp(options, { assets: await loadAssets(), history, streams, openStream });
  const bounded = createBoundedServer(getRequestListener(app.fetch));
  const port = await listen(bounded.server, options.host, options.port);

  const unsubscribe = options.source.subscribe((change) => {
    const data = change.kind === 'topology' ? change.topology : change.event;
    streams.broadcast({ event: change.kind, data: JSON.stringify(data) });
  });
  const sampling = setInterval(() => {
    const sample = history.record(options.source.topology(), Date.now());
    streams.broadcast({ event: 'sample', data: JSON.stringify(sample) });
  }, SAMPLE_EVERY_MS);
  sampling.unref();

  return {
    url: `http://${options.host}:${port}`,
    port,
    async close() {
      clearInterval(sampling);
      unsubscribe();
      streams.close();
      await bounded.close();
    },
  };
}

function createApp(
  options: AdminServerOptions,
  parts: {
    readonly assets: ReadonlyMap<string, Asset>;
    readonly history: History;
    readonly streams: EventStreams;
    readonly openStream: BoundedServer['openStream'];
  },
): Hono<{ Bindings: HttpBindings }> {
  const { source } = options;
  const { assets, history, streams } = parts;
  const app = new Hono<{ Bindings: HttpBindings }>();
  app.use('*', protectPage());
  app.use('*', async (c, next) => {
    if (!isLoopbackHost(c.req.header('host'))) {
      return refuse(
        c,
        403,
        'This server answers only to localhost, 127.0.0.1 and [::1]; open it by one of these names.',
      );
    }
    await next();
    return undefined;
  });
  app.get('/', (c) => sendAsset(c.req.header('if-none-match'), assets.get('index.html')));
  app.get('/rescue', (c) => sendAsset(c.req.header('if-none-match'), assets.get('rescue.html')));
  app.get('/assets/:name', (c) => {
    return sendAsset(c.req.header('if-none-match'), assets.get(c.req.param('name')));
  });
  app.get('/health', (c) => c.json({ status: 'ok' }));
  app.get('/api/topology', (c) => {
    const topology = source.topology();
    if (topology !== null) return c.json(topology);
    const message = 'No agent of this cluster was heard yet; try again in a moment.';
    return c.json({ code: 'NO_LEADER', message, outcome: 'not-applied' }, 503);
  });
  app.get('/api/events', (c) => {
    if (!parts.openStream(c.env.incoming, c.env.outgoing))
      return refuse(c, 503, 'Too many pages watch this cluster already; close some of them.');
    const snapshot = {
      topology: source.topology(),
      events: source.events(),
      samples: history.samples(),
      links: options.links ?? {},
      now: Date.now(),
    };
    return streams.open(c, { event: 'snapshot', data: JSON.stringify(snapshot) });
  });
  app.get('/api/quorum', async (c) => c.json(await (source.quorum?.() ?? null)));
  if (source.rescue !== undefined) app.route('/api/rescue', createRescueRoutes(source, source.rescue));
  app.route('/api', createCommandRoutes(source));
  app.notFound((c) => refuse(c, 404, `There is nothing at ${c.req.method} ${c.req.path}.`));
  app.onError((error, c) => {
    const { status, body } = toErrorAnswer(error);
    if (status === 500) options.logger?.error({ err: error, path: c.req.path }, 'an admin request failed');
    return c.json(body, status);
  });
  return app;
}

function protectPage(): ReturnType<typeof secureHeaders> {
  return secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      requireTrustedTypesFor: ["'script'"],
    },
    // Over plain HTTP on loopback it would mean nothing, and would outlive this server for its port's next user.
    strictTransportSecurity: false,
    xFrameOptions: 'DENY',
  });
}

function sendAsset(knownEtag: string | undefined, asset: Asset | undefined): Response {
  if (asset === undefined) {
    const body = { code: 'CONFIG_INVALID', message: 'There is no such file.', outcome: 'not-applied' };
    return Response.json(body, { status: 404 });
  }
  const headers = { 'Content-Type': asset.contentType, ETag: asset.etag, 'Cache-Control': 'no-cache' };
  if (knownEtag === asset.etag) return new Response(null, { status: 304, headers });
  return new Response(asset.body, { headers });
}

async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(cause, host, port)));
    server.listen(port, host, resolve);
  });
  return (server.address() as AddressInfo).port;
}

function listenError(cause: NodeJS.ErrnoException, host: string, port: number): Error {
  if (cause.code !== 'EADDRINUSE' && cause.code !== 'EACCES') return cause;
  const reason = cause.code === 'EADDRINUSE' ? 'is taken by another program' : 'is not allowed for this user';
  return new LockstepError('CONFIG_INVALID', `Port ${port} on ${host} ${reason}; choose another one.`, {
    details: { host, port, reason: cause.code },
    cause,
  });
}

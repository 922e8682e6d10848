import { once } from 'node:events';
import { createHash, timingSafeEqual } from 'node:crypto';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import { createBoundedServer } from '../../http/bounded-server.ts';
import { loadAssets } from '../assets.ts';
import type { Asset } from '../assets.ts';
import { toErrorAnswer } from '../core/error-answer.ts';
import { isLoopbackHost, parseBearer } from '../core/guard.ts';
import type { WorldPicture, WorldSource } from './world.ts';

/**
 * Serves the picture of all regions on loopback: the page, `GET /api/world`, with the token also the conflicts and
 * what went wrong, which hold values of the app's, and `POST /api/links/<a>/<b>/cut` and `/heal`. Requests whose Host header names anything but this machine are refused.
 */
export async function startWorldServer(options: {
  readonly port: number;
  readonly source: WorldSource;
}): Promise<{ readonly url: string; close(): Promise<void> }> {
  const app = createApp(options.source, await loadAssets(new URL('page/', import.meta.url)));
  const { server, close } = createBoundedServer(getRequestListener(app.fetch));
  server.listen(options.port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${options.port}/#token=${encodeURIComponent(options.source.token)}`,
    close,
  };
}

function createApp(source: WorldSource, assets: ReadonlyMap<string, Asset>): Hono {
  const app = new Hono();
  app.use(
    '*',
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        connectSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
        requireTrustedTypesFor: ["'script'"],
      },
      strictTransportSecurity: false,
      xFrameOptions: 'DENY',
    }),
  );
  app.use('*', async (c, next) => {
    if (isLoopbackHost(c.req.header('host'))) return next();
    return c.json({ code: 'CONFIG_INVALID', message: 'Open this by localhost or 127.0.0.1.' }, 403);
  });
  app.get('/', () => send(assets.get('world.html')));
  app.get('/assets/:name', (c) => send(assets.get(c.req.param('name'))));
  // What the page takes from the cluster's dashboard, as it stands in the tree.
  app.get('/page/:name', (c) => send(assets.get(c.req.param('name'))));
  const isAllowed = (c: Context): boolean =>
    isToken(parseBearer(c.req.header('authorization')), source.token);
  app.get('/api/world', async (c) => {
    const withRows = isAllowed(c);
    const picture = await source.picture(withRows);
    return c.json(withRows ? picture : withoutRows(picture));
  });
  app.post('/api/links/:a/:b/:verb{cut|heal}', async (c) => {
    if (!isAllowed(c)) {
      const message = 'Open this page by the address that "lockstep dev --regions" printed.';
      return c.json({ code: 'CONFIG_INVALID', message }, 401);
    }
    const { a, b, verb } = c.req.param();
    await source.setLink(a, b, verb === 'cut' ? 'cut' : 'heal');
    return c.json(await source.picture(true));
  });
  app.notFound((c) => c.json({ code: 'CONFIG_INVALID', message: 'There is no such page.' }, 404));
  app.onError((error, c) => {
    const { status, body } = toErrorAnswer(error);
    return c.json(body, status);
  });
  return app;
}

/** PostgreSQL's words about what went wrong hold values too. */
function withoutRows({ regions }: WorldPicture): WorldPicture {
  const quiet = regions.map((region) => ({
    ...region,
    problem: null,
    links: region.links?.map((link) => ({ ...link, detail: null })) ?? null,
  }));
  return { regions: quiet, conflicts: [] };
}

function send(asset: Asset | undefined): Response {
  if (asset === undefined)
    return Response.json({ code: 'CONFIG_INVALID', message: 'There is no such file.' }, { status: 404 });
  return new Response(asset.body, {
    headers: { 'Content-Type': asset.contentType, 'Cache-Control': 'no-cache' },
  });
}

function isToken(given: string | null, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given ?? ''), digest(token));
}

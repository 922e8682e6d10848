import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { Hono } from 'hono';
import { createBoundedServer } from '../http/bounded-server.ts';
import { LockstepError } from '../model/errors.ts';
import type { RegionStatus } from './region.ts';

/** What a region answers over HTTP; {@link Region} is one. */
export interface RegionApi {
  status(): Promise<RegionStatus>;
  setCut(source: string, cut: boolean): Promise<void>;
}

/**
 * Serves one region to people and dashboards: `GET /v1/region` needs no secret and holds none, `POST
 * /v1/links/<region>/cut` and `/heal` need the token. Rejects with CONFIG_INVALID when the port is taken.
 */
export async function serveRegion(options: {
  readonly api: RegionApi;
  readonly host: string;
  readonly port: number;
  readonly token: string;
}): Promise<{ close(): Promise<void> }> {
  const app = createApp(options.api, options.token, (socket) => bounded.prove(socket));
  const bounded = createBoundedServer(getRequestListener(app.fetch), { maxBodyBytes: 0 });
  const { server, close } = bounded;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new LockstepError('CONFIG_INVALID', `Port ${options.port} is in use; choose another one.`)
          : error,
      ),
    );
    server.listen(options.port, options.host, resolve);
  });
  return { close };
}

function createApp(
  api: RegionApi,
  token: string,
  prove: (socket: Socket) => void,
): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  app.get('/v1/region', async (context) => context.json(await api.status()));
  app.use('/v1/links/*', async (context, next) => {
    if (isToken(context.req.header('authorization') ?? '', token)) {
      // A cut waits for the batch that is under way.
      prove(context.env.incoming.socket);
      return next();
    }
    return context.json({ code: 'CONFIG_INVALID', message: "The regions' token is missing or wrong." }, 401);
  });
  app.post('/v1/links/:region/:verb{cut|heal}', async (context) => {
    await api.setCut(context.req.param('region'), context.req.param('verb') === 'cut');
    return context.json(await api.status());
  });
  app.onError((error, context) => {
    const { code, message } =
      error instanceof LockstepError ? error : { code: 'INVARIANT', message: 'It failed.' };
    return context.json({ code, message }, 400);
  });
  return app;
}

/** In a time that tells nothing of how much of it was right. */
function isToken(header: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(header), digest(`Bearer ${token}`));
}

import { Hono } from 'hono';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { csrf } from 'hono/csrf';
import { HTTPException } from 'hono/http-exception';
import { secureHeaders } from 'hono/secure-headers';
import { LockstepError } from '../../src/index.ts';
import { createApi } from './api.ts';
import { databaseCarts } from './carts.ts';
import type { Carts } from './carts.ts';
import type { CardProvider } from './card-provider.ts';
import type { ShopDatabase } from './database.ts';
import { isEncrypted } from './doors/caller.ts';
import { guardPasswords, MAX_BODY_BYTES, refuseNul } from './doors/doors.ts';
import { createDealPages } from './flash-deal.ts';
import type { DealCollections } from './flash-deal.ts';
import { createRegionalPages } from './regional-pages.ts';
import type { RegionDatabases } from './regional-pages.ts';
import { forgetSeen, recogniseVisitor } from './visitor.ts';
import type { ShopEnv } from './visitor.ts';
import { createAssets } from './web/assets.ts';
import { renderNotice, renderPage } from './web/layout.ts';
import { createDemoRoutes } from './web/demo.ts';
import { createWebRoutes, showMissing } from './web/routes.ts';

export interface AppOptions {
  readonly db: ShopDatabase;
  readonly cards: CardProvider;
  /** Where carts are kept; by default in `db`. */
  readonly carts?: Carts;
  /** For the deal of the hour; none without them. */
  readonly deals?: DealCollections;
  /** For the page that shows several regions; none without them. */
  readonly regions?: RegionDatabases;
  /** What `createSchema` returned. */
  readonly shopId: string;
  /** Serves /demo, where a button deletes all orders. Default false. */
  readonly demo?: boolean;
  /** Told about every request that failed for a reason of ours. */
  readonly onError?: (error: unknown) => void;
  /** Whether a proxy says who asks, by `X-Forwarded-For` and `X-Forwarded-Proto`. Default false. */
  readonly isBehindProxy?: boolean;
}

const PASSWORD_PATHS = ['/sign-in', '/sign-up', '/api/sign-in', '/api/accounts'];

/** The whole shop: pages, API, pictures and health. */
export function createApp(options: AppOptions): Hono<ShopEnv> {
  const { db, cards, shopId, carts = databaseCarts, regions = new Map(), demo = false, onError } = options;
  const place = { isBehindProxy: options.isBehindProxy ?? false };
  const app = new Hono<ShopEnv>();
  app.use(refuseNul, bodyLimit({ maxSize: MAX_BODY_BYTES }));
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
      strictTransportSecurity: false,
    }),
  );
  app.route('/', createAssets());
  app.get('/health', async (c) => {
    const { rows } = await db.query<{ products: number }>({
      text: 'SELECT count(*)::int AS products FROM products',
    });
    return c.json({ ok: true, products: rows[0]?.products ?? 0, readsByNode: db.stats().readsByNode });
  });
  app.use(csrf());
  const guard = guardPasswords(place, () => performance.now());
  for (const path of PASSWORD_PATHS) app.use(path, guard);
  app.use((c, next) => {
    c.set('isEncrypted', isEncrypted(c, place));
    return next();
  });
  app.use(recogniseVisitor(db, shopId, carts));
  if (options.deals !== undefined) app.route('/', createDealPages(options.deals));
  app.route('/api', createApi(db, cards));
  if (demo) app.route('/', createDemoRoutes(db));
  app.route('/', createWebRoutes(db, cards));
  if (regions.size > 0) app.route('/', createRegionalPages(regions));
  app.notFound((c) => showMissing(c));
  app.onError((error, c) => answerError(error, c, onError));
  return app;
}

async function answerError(error: Error, c: Context, onError: AppOptions['onError']): Promise<Response> {
  const { status, message } = describeError(error);
  if (status >= 500) onError?.(error);
  if (error instanceof LockstepError && error.code === 'WRITE_LOST') forgetSeen(c);
  if (status === 503) c.header('retry-after', '2');
  if (c.req.path.startsWith('/api/') || c.req.path === '/health') return c.json({ error: message }, status);
  const title =
    status === 503 ? 'One moment, please' : status === 404 ? 'There is nothing here' : 'That did not work';
  const link =
    status === 503
      ? { href: `/${c.req.path.replace(/^[/\\]+/, '')}`, label: 'Try again' }
      : { href: '/', label: 'Back to the shop' };
  const body = renderNotice(title, message, link);
  return c.html(await renderPage({ title, account: null, cartCount: 0, body }), status);
}

type ErrorStatus = 400 | 401 | 403 | 404 | 413 | 429 | 500 | 503;

function describeError(error: Error): { readonly status: ErrorStatus; readonly message: string } {
  // PostgreSQL's word for the character NUL in a text.
  if ('code' in error && error.code === '22021')
    return { status: 400, message: 'There is a character in it that no text can have.' };
  if (error instanceof HTTPException)
    return { status: error.status as ErrorStatus, message: error.message || 'The request was refused.' };
  if (error instanceof LockstepError) {
    if (error.code === 'WRITE_LOST')
      return {
        status: 503,
        message: 'The last change was lost in a failover; please look again and repeat it.',
      };
    return {
      status: 503,
      message:
        'The shop is changing over to another server. What you ordered is safe; try again in a moment.',
    };
  }
  return { status: 500, message: 'Something went wrong on our side.' };
}

import type { Context, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { CookieOptions } from 'hono/utils/cookie';
import type { ClientTopology, Log, StatementLogEntry } from '../../src/index.ts';
import { findBySecret, SIGN_IN_DAYS } from './accounts.ts';
import type { Account } from './accounts.ts';
import type { Carts } from './carts.ts';
import type { ShopDatabase, ShopSession } from './database.ts';

/** Who asks, and the session that reads the visitor's own writes. */
export interface Visitor {
  readonly account: Account | null;
  readonly session: ShopSession;
  readonly cartId: string | null;
  readonly carts: Carts;
  /** What the session has sent for this request so far. */
  readonly statements: readonly StatementLogEntry[];
}

export interface ShopEnv {
  Variables: {
    visitor: Visitor;
    topology: () => Promise<ClientTopology>;
    /** Then cookies are never to travel unencrypted. */
    isEncrypted: boolean;
  };
}

const SIGN_IN_COOKIE = 'shop_sign_in';
const CART_COOKIE = 'shop_cart';
const SEEN_COOKIE = 'shop_seen';
const COOKIE = { httpOnly: true, sameSite: 'Lax', path: '/', maxAge: SIGN_IN_DAYS * 86_400 } as const;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Recognises the visitor by cookies, and hands the session's token back in one: whichever process or node
 * answers next shows at least what this visitor has seen. `shopId` tells tokens of another database apart.
 */
export function recogniseVisitor(db: ShopDatabase, shopId: string, carts: Carts): MiddlewareHandler<ShopEnv> {
  return async (c, next) => {
    const [seenShopId, seenToken] = (getCookie(c, SEEN_COOKIE) ?? '').split('.');
    const token = seenShopId === shopId ? seenToken : undefined;
    const statements: StatementLogEntry[] = [];
    const session = openSession(db, token, (_, entry) => statements.push(entry as StatementLogEntry));
    const secret = getCookie(c, SIGN_IN_COOKIE);
    const cartId = getCookie(c, CART_COOKIE) ?? '';
    c.set('visitor', {
      account: secret === undefined ? null : await findBySecret(session, secret),
      session,
      cartId: UUID.test(cartId) ? cartId : null,
      carts,
      statements,
    });
    c.set('topology', () => db.topology());
    await next();
    if (session.token !== null && session.token !== token)
      setCookie(c, SEEN_COOKIE, `${shopId}.${session.token}`, cookieOptions(c));
  };
}

/** A token that a visitor made up is worth no more than none. */
function openSession(db: ShopDatabase, token: string | undefined, log: Log): ShopSession {
  try {
    return db.session({ token, log });
  } catch {
    return db.session({ log });
  }
}

function cookieOptions(c: Context<ShopEnv>): CookieOptions {
  return { ...COOKIE, secure: c.get('isEncrypted') };
}

/** Forgets what the visitor has seen: the way out when a failover lost it. */
export function forgetSeen(c: Context): void {
  deleteCookie(c, SEEN_COOKIE, { path: '/' });
}

export function rememberSignIn(c: Context<ShopEnv>, secret: string): void {
  setCookie(c, SIGN_IN_COOKIE, secret, cookieOptions(c));
}

/** Forgets the sign-in and returns its secret. */
export function forgetSignIn(c: Context): string | undefined {
  return deleteCookie(c, SIGN_IN_COOKIE, { path: '/' });
}

/** The visitor's cart, a new one when there is none yet. */
export function ensureCart(c: Context<ShopEnv>): string {
  const cartId = c.get('visitor').cartId ?? crypto.randomUUID();
  setCookie(c, CART_COOKIE, cartId, cookieOptions(c));
  return cartId;
}

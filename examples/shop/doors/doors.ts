import type { Context, MiddlewareHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { isLoopbackHost } from '../../../src/admin/core/guard.ts';
import { Attempts } from './attempts.ts';
import { addressOf } from './caller.ts';
import type { Place } from './caller.ts';

/** Longer than any form of the shop. */
export const MAX_BODY_BYTES = 64_000;

const WINDOW_MS = 10 * 60_000;
/** A person mistypes; a program guesses. */
const FAILURES_PER_ACCOUNT_AND_ADDRESS = 5;
const FAILURES_PER_ADDRESS = 30;
/** Wherever they come from: enough that nobody locks somebody else out by chance. */
const FAILURES_PER_ACCOUNT = 100;
/** Each takes tens of milliseconds of a processor. */
const PASSWORDS_AT_A_TIME = 8;

/** Refuses what PostgreSQL has no room for in a text: the character NUL, in the address or in a cookie. */
export const refuseNul: MiddlewareHandler = async (c, next) => {
  const text = `${c.req.url} ${c.req.header('cookie') ?? ''}`;
  if (/%00|\0/.test(text))
    throw new HTTPException(400, { message: 'There is a character in it that no text can have.' });
  await next();
};

/**
 * Refuses whoever does not sit at this machine, for pages that need no account: what a proxy passes on, and pages of other
 * sites whose names were pointed at it, which pass for this site's own (DNS rebinding).
 */
export const onlyThisMachine: MiddlewareHandler = async (c, next) => {
  const isPassedOn = c.req.header('x-forwarded-for') !== undefined || c.req.header('forwarded') !== undefined;
  if (isPassedOn || !isLoopbackHost(c.req.header('host') ?? new URL(c.req.url).host))
    throw new HTTPException(403, { message: 'Open this page by localhost or 127.0.0.1.' });
  await next();
};

/** Guards where passwords are tried or made: see the limits above. Too many get 429, and when to come again. */
export function guardPasswords(place: Place, clock: () => number): MiddlewareHandler {
  const limits = { windowMs: WINDOW_MS, clock };
  const both = new Attempts({ ...limits, limit: FAILURES_PER_ACCOUNT_AND_ADDRESS });
  const addresses = new Attempts({ ...limits, limit: FAILURES_PER_ADDRESS });
  const accounts = new Attempts({ ...limits, limit: FAILURES_PER_ACCOUNT });
  let underWay = 0;
  return async (c, next) => {
    if (c.req.method !== 'POST') return next();
    const address = addressOf(c, place);
    const email = await readEmail(c);
    const pair = `${address} ${email}`;
    const waitMs = Math.max(both.waitMs(pair), addresses.waitMs(address), accounts.waitMs(email));
    if (waitMs > 0) throw tooMany(c, Math.ceil(waitMs / 1_000));
    if (underWay >= PASSWORDS_AT_A_TIME) throw tooMany(c, 1);
    underWay += 1;
    try {
      await next();
    } finally {
      underWay -= 1;
    }
    if (c.res.status < 400) both.forget(pair);
    else if (c.res.status === 401 || c.res.status === 409) {
      both.failed(pair);
      addresses.failed(address);
      accounts.failed(email);
    }
  };
}

/** Hono keeps what it parsed for the handler that comes after. */
async function readEmail(c: Context): Promise<string> {
  const isJson = c.req.header('content-type')?.includes('json') === true;
  const body: unknown = await (isJson ? c.req.json() : c.req.parseBody()).catch(() => null);
  const email = (body as { email?: unknown } | null)?.email;
  return typeof email === 'string' ? email.trim().toLowerCase().slice(0, 200) : '';
}

function tooMany(c: Context, seconds: number): HTTPException {
  c.header('retry-after', String(seconds));
  return new HTTPException(429, {
    message: `Too many attempts; please try again in ${seconds < 60 ? 'a moment' : `${Math.ceil(seconds / 60)} minutes`}.`,
  });
}

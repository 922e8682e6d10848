import type { LockstepPool } from '../pool.ts';
import { SessionCookies } from './session-cookies.ts';
import type { SessionCookieOptions } from './session-cookies.ts';

/** What {@link honoSession} uses of Hono's context. */
export interface HonoContextLike {
  readonly req: { header(name: string): string | undefined };
  header(name: string, value: string, options: { append: boolean }): void;
}

/**
 * Hono: `app.use(honoSession(pool))`. What runs behind it uses the browser's session, so that a page shows
 * what the same browser wrote in the request before, whichever process and server answer. A streamed body
 * runs on after the headers: what it writes is not in the cookie. Throws CONFIG_INVALID; never fails a
 * request.
 */
export function honoSession(
  pool: LockstepPool,
  options: SessionCookieOptions = {},
): (context: HonoContextLike, next: () => Promise<void>) => Promise<void> {
  const cookies = new SessionCookies(pool, options);
  return async (context, next) => {
    const opened = cookies.open(context.req.header('cookie'));
    await opened.run(next);
    if (opened.session.isWriting) await opened.untilWritten();
    for (const cookie of opened.setCookies()) context.header('Set-Cookie', cookie, { append: true });
  };
}

/**
 * Handlers that take a Web `Request` and give a `Response`: Next's route handlers, SvelteKit, Remix, Bun:
 * `export const GET = webSession(pool)(async (request) => …)`. Further arguments are passed on. See
 * {@link honoSession}.
 */
export function webSession(
  pool: LockstepPool,
  options: SessionCookieOptions = {},
): <Req extends Request, Rest extends unknown[]>(
  handler: (request: Req, ...rest: Rest) => Response | Promise<Response>,
) => (request: Req, ...rest: Rest) => Promise<Response> {
  const cookies = new SessionCookies(pool, options);
  return (handler) =>
    async (request, ...rest) => {
      const opened = cookies.open(request.headers.get('cookie'));
      const response = await opened.run(() => handler(request, ...rest));
      if (opened.session.isWriting) await opened.untilWritten();
      return withCookies(response, opened.setCookies());
    };
}

function withCookies(response: Response, cookies: readonly string[]): Response {
  if (cookies.length === 0) return response;
  try {
    for (const cookie of cookies) response.headers.append('Set-Cookie', cookie);
    return response;
  } catch {
    // A redirect's or a fetched answer's headers cannot be changed.
    const copy = new Response(response.body, response);
    for (const cookie of cookies) copy.headers.append('Set-Cookie', cookie);
    return copy;
  }
}

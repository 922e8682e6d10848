import type { IncomingMessage, ServerResponse } from 'node:http';
import type { LockstepPool } from '../pool.ts';
import { holdAnswer } from './held-answer.ts';
import { SessionCookies } from './session-cookies.ts';
import type { RequestSession, SessionCookieOptions } from './session-cookies.ts';

/** A `(request, response)` handler over Node's own objects, as of `http.createServer` or Next's `pages/api`. */
export type NodeHandler<Request extends IncomingMessage, Response extends ServerResponse, Result> = (
  request: Request,
  response: Response,
) => Result;

/** An Express (or Connect) middleware. */
export type ExpressMiddleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;

/** What {@link fastifySession} uses of a Fastify instance. */
export interface FastifyLike {
  addHook(name: 'onRequest' | 'preValidation', hook: FastifyHook): unknown;
}

type FastifyHook = (
  request: { readonly raw: IncomingMessage },
  reply: { readonly raw: ServerResponse },
  done: () => void,
) => void;

/**
 * Express: `app.use(expressSession(pool))`. What runs behind it uses the browser's session, so that a page
 * shows what the same browser wrote in the request before, whichever process and server answer. Use it before
 * express-session, whose saving is then covered too: the answer begins when the writes that the request has
 * begun are done. Throws CONFIG_INVALID; never fails a request.
 */
export function expressSession(pool: LockstepPool, options: SessionCookieOptions = {}): ExpressMiddleware {
  const cookies = new SessionCookies(pool, options);
  return (request, response, next) => begin(cookies, request, response).run(() => next());
}

/**
 * Node's `http`, and Next's `pages/api`: `export default nodeSession(pool)(handler)`. See
 * {@link expressSession}.
 */
export function nodeSession(
  pool: LockstepPool,
  options: SessionCookieOptions = {},
): <Request extends IncomingMessage, Response extends ServerResponse, Result>(
  handler: NodeHandler<Request, Response, Result>,
) => NodeHandler<Request, Response, Result> {
  const cookies = new SessionCookies(pool, options);
  return (handler) => (request, response) =>
    begin(cookies, request, response).run(() => handler(request, response));
}

/**
 * Fastify: `app.register(fastifySession(pool))`, for all routes of the instance that it is registered on.
 * See {@link expressSession}.
 */
export function fastifySession(
  pool: LockstepPool,
  options: SessionCookieOptions = {},
): (fastify: FastifyLike, options: unknown, done: () => void) => void {
  const cookies = new SessionCookies(pool, options);
  const plugin = (fastify: FastifyLike, _options: unknown, done: () => void): void => {
    const open = new WeakMap<IncomingMessage, RequestSession>();
    fastify.addHook('onRequest', (request, reply, next) => {
      const session = begin(cookies, request.raw, reply.raw);
      open.set(request.raw, session);
      session.run(next);
    });
    // Parsing a body goes on from the socket's events, where nothing is ambient.
    fastify.addHook('preValidation', (request, _reply, next) => {
      const session = open.get(request.raw);
      if (session === undefined) next();
      else session.run(next);
    });
    done();
  };
  // Without it the hooks would hold only inside the plugin. Source: Fastify documentation, "Plugins".
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true });
}

function begin(cookies: SessionCookies, request: IncomingMessage, response: ServerResponse): RequestSession {
  const opened = cookies.open(request.headers.cookie);
  setCookiesWithHeaders(response, opened);
  holdAnswer(response, {
    // express-session saves behind the answer's beginning, by whatever its store does to get at a connection.
    mustWait: () => opened.session.isWriting || 'sessionStore' in request,
    untilReady: () => opened.untilWritten(),
  });
  return opened;
}

type WriteHead = (this: ServerResponse, statusCode: number, ...rest: unknown[]) => ServerResponse;

/**
 * Adds the cookies at the last moment at which headers can be added: every way of sending them, also the
 * implicit one of the first `write`, goes through `writeHead`.
 */
function setCookiesWithHeaders(response: ServerResponse, opened: RequestSession): void {
  // oxlint-disable-next-line typescript/unbound-method -- called with the response below
  const writeHead = response.writeHead as WriteHead;
  let isDone = false;
  const withCookies: WriteHead = (statusCode, ...rest) => {
    if (isDone || statusCode < 200) return writeHead.call(response, statusCode, ...rest);
    isDone = true;
    return writeHead.call(response, statusCode, ...addCookies(response, rest, opened.setCookies()));
  };
  response.writeHead = withCookies as ServerResponse['writeHead'];
}

/** Headers given to `writeHead` replace those set before, so that ours must stand beside the app's there. */
function addCookies(response: ServerResponse, rest: unknown[], cookies: readonly string[]): unknown[] {
  if (cookies.length === 0) return rest;
  const headers = rest.at(-1);
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    return [...rest.slice(0, -1), [...headers, ...cookies.flatMap((cookie) => ['Set-Cookie', cookie])]];
  }
  if (Array.isArray(headers)) {
    return [...rest.slice(0, -1), [...headers, ...cookies.map((cookie) => ['Set-Cookie', cookie])]];
  }
  if (typeof headers === 'object' && headers !== null) {
    const given = Object.entries(headers).find(([name]) => name.toLowerCase() === 'set-cookie');
    if (given !== undefined) {
      const [name, value] = given as [string, string | readonly string[]];
      return [...rest.slice(0, -1), { ...headers, [name]: [value, cookies].flat() }];
    }
  }
  response.appendHeader('Set-Cookie', cookies);
  return rest;
}

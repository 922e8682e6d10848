import { systemClock } from '../../clock/system-clock.ts';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { chooseSlot, COOKIE_SLOTS, readSessionCookies, renderSetCookies } from './core/session-cookies.ts';
import type { CarriedCookie, CookieAttributes } from './core/session-cookies.ts';
import { positionOf } from '../session/core/signed-token.ts';
import type { LockstepPool } from '../pool.ts';
import type { Session } from '../session.ts';

/** The cookies that carry a browser's session; they are always HttpOnly. */
export interface SessionCookieOptions {
  /** Begin of the cookies' names; a digit follows. Default `lockstep`. */
  readonly name?: string | undefined;
  /** Default `/`. */
  readonly path?: string | undefined;
  /** Default: the host that answers. */
  readonly domain?: string | undefined;
  /** Default `lax`. `none` needs `secure`. */
  readonly sameSite?: 'strict' | 'lax' | 'none' | undefined;
  /** Whether the browser sends them over https alone. Default: when NODE_ENV is `production`. */
  readonly secure?: boolean | undefined;
}

/** An answer without the newest write in its cookie is better than none. */
const LONGEST_HOLD_MS = 5000;

const COOKIE_NAME = /^[\w!#$%&'*+^`|~-]{1,64}$/;
const ATTRIBUTE = /^[\u0020-\u003a\u003c-\u007e]+$/;

/** Opens a session for each request, and renders what its answer tells the browser. */
export class SessionCookies {
  readonly #pool: LockstepPool;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #attributes: CookieAttributes;
  /** Each process begins elsewhere, so that two of them seldom choose the same slot. */
  #turn: number = Math.floor(Math.random() * COOKIE_SLOTS);

  /** Throws CONFIG_INVALID for options that no browser would take, and for a pool without `tokenSecret`. */
  constructor(pool: LockstepPool, options: SessionCookieOptions, clock: Clock = systemClock) {
    const { name = 'lockstep', path = '/', domain, sameSite = 'lax' } = options;
    const isSecure = options.secure ?? process.env['NODE_ENV'] === 'production';
    if (!pool.tokenPolicy.areSigned)
      throw invalid(
        'Sessions in cookies need the option "tokenSecret" of connect(), since a browser may send anything',
      );
    if (!COOKIE_NAME.test(name)) throw invalid(`"${name}" cannot be the name of a cookie`);
    if (!ATTRIBUTE.test(path) || (domain !== undefined && !ATTRIBUTE.test(domain)))
      throw invalid('"path" and "domain" of a cookie are plain text without a semicolon');
    if (!['strict', 'lax', 'none'].includes(sameSite))
      throw invalid(`"${sameSite}" is not a sameSite; use strict, lax or none`);
    if (sameSite === 'none' && !isSecure) throw invalid('sameSite "none" needs secure: true');
    this.#pool = pool;
    this.#clock = clock;
    this.#name = name;
    const maxAgeSec = Math.floor(pool.tokenPolicy.maxAgeMs / 1000);
    this.#attributes = { path, domain, sameSite, isSecure, maxAgeSec };
  }

  /** The session of the browser that sent this `Cookie` header. What is no token of ours is left out. */
  open(header: string | null | undefined): RequestSession {
    const carried = readSessionCookies(header, this.#name);
    const token = carried.map(({ value }) => value);
    const session = this.#pool.session({ token, ignoreInvalidToken: true });
    return new RequestSession(this.#pool, this.#clock, session, (text) => this.#render(text, carried));
  }

  #render(token: string, carried: readonly CarriedCookie[]): string[] {
    this.#turn += 1;
    const slot = chooseSlot(this.#name, this.#turn, carried);
    return renderSetCookies(this.#name, slot, token, carried, this.#attributes);
  }
}

/** One request's session. */
export class RequestSession {
  readonly #pool: LockstepPool;
  readonly #clock: Clock;
  readonly #render: (token: string) => string[];
  /** Where the session stood when the request came. */
  readonly #before: string | null;
  readonly session: Session;

  constructor(pool: LockstepPool, clock: Clock, session: Session, render: (token: string) => string[]) {
    this.#pool = pool;
    this.#clock = clock;
    this.session = session;
    this.#render = render;
    this.#before = positionOf(session.token);
  }

  /** Runs `fn`, and all that it starts, with the session as the ambient one. */
  run<T>(fn: () => T): T {
    return this.#pool.withSession(this.session, () => fn());
  }

  /**
   * Resolves when the writes that the request has begun are done, so that the cookie covers them: a session
   * store saves while the answer is sent already. A slow one holds the answer for {@link LONGEST_HOLD_MS} at most.
   */
  async untilWritten(): Promise<void> {
    const limit = new AbortController();
    const whenWritten = async (): Promise<void> => {
      do {
        // A library may be about to take a connection, or to send the next statement of a transaction.
        await new Promise<void>((resolve) => setImmediate(resolve));
        await this.session.whenWritten();
      } while (this.session.isWriting && !limit.signal.aborted);
    };
    const tooLong = this.#clock.sleep(LONGEST_HOLD_MS, limit.signal);
    await Promise.race([whenWritten(), tooLong]);
    limit.abort();
  }

  /** The answer's `Set-Cookie` values; none when the session has seen nothing new. */
  setCookies(): string[] {
    const { token } = this.session;
    return token === null || positionOf(token) === this.#before ? [] : this.#render(token);
  }
}

function invalid(what: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', `${what}; see docs/sessions.md.`);
}

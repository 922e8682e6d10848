import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { connect, expressSession } from '../../src/index.ts';
import {
  chooseSlot,
  COOKIE_SLOTS,
  readSessionCookies,
  renderSetCookies,
} from '../../src/client/web/core/session-cookies.ts';
import type { CarriedCookie, CookieAttributes } from '../../src/client/web/core/session-cookies.ts';

const PLAIN: CookieAttributes = {
  path: '/',
  domain: undefined,
  sameSite: 'lax',
  isSecure: false,
  maxAgeSec: 3600,
};

describe("a session's cookies", () => {
  it('are found among others, and nothing else is', () => {
    const header =
      'a=1; lockstep.0=x.y; lockstep.9=no; xlockstep.1=no; lockstep.3="quoted"; lockstep=no; bad';
    expect(readSessionCookies(header, 'lockstep')).toEqual([
      { name: 'lockstep.0', value: 'x.y' },
      { name: 'lockstep.3', value: 'quoted' },
    ]);
    expect(readSessionCookies(undefined, 'lockstep')).toEqual([]);
  });

  it('are set with their attributes, and remove those that they cover', () => {
    const carried = [{ name: 'lockstep.2', value: 'old' }];
    expect(renderSetCookies('lockstep', 5, 'new', carried, PLAIN)).toEqual([
      'lockstep.5=new; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax',
      'lockstep.2=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax',
    ]);
    const strict = { ...PLAIN, domain: 'example.com', sameSite: 'none', isSecure: true } as const;
    expect(renderSetCookies('__Secure-s', 0, 'v', [], strict)).toEqual([
      '__Secure-s.0=v; Max-Age=3600; Path=/; HttpOnly; Domain=example.com; SameSite=None; Secure',
    ]);
  });

  it('never go back for a browser with two requests at once, in whichever order answers come', () => {
    const step = fc.record({ isAnswer: fc.boolean(), pick: fc.nat(), seen: fc.integer({ min: 1, max: 50 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const browser = new Browser();
        for (const { isAnswer, pick, seen } of steps) {
          if (isAnswer) browser.answer(pick);
          else browser.request(seen);
          expect(browser.newest).toBe(browser.newestAnswered);
        }
      }),
    );
  });
});

/** Two tabs at one process, where an answer is overtaken by half as many others as there are slots. A token is a number here. */
class Browser {
  readonly #jar = new Map<string, string>();
  readonly #open: { carried: CarriedCookie[]; token: number; sinceTurn: number }[] = [];
  #turn = 0;
  newestAnswered = 0;

  get newest(): number {
    return Math.max(0, ...[...this.#jar.values()].map(Number));
  }

  request(seen: number): void {
    if (this.#open.length >= 2) return;
    const header = [...this.#jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const carried = readSessionCookies(header, 's');
    const token = Math.max(seen, ...carried.map(({ value }) => Number(value)));
    this.#open.push({ carried, token, sinceTurn: this.#turn });
  }

  answer(pick: number): void {
    const isDue = this.#turn - (this.#open[0]?.sinceTurn ?? 0) >= COOKIE_SLOTS / 2;
    const [request] = this.#open.splice(isDue ? 0 : pick % Math.max(1, this.#open.length), 1);
    if (request === undefined) return;
    const { token, carried } = request;
    // The answer's slot is chosen when it is sent.
    const slot = chooseSlot('s', (this.#turn += 1), carried);
    for (const cookie of renderSetCookies('s', slot, String(token), carried, PLAIN)) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (cookie.includes('Max-Age=0')) this.#jar.delete(name);
      else this.#jar.set(name, value);
    }
    this.newestAnswered = Math.max(this.newestAnswered, token);
  }
}

describe('a middleware', () => {
  const pool = connect({ hosts: [{ host: 'db' }], tokenSecret: 'a secret of the shop' });

  it.each([
    [{ name: 'a b' }, /cannot be the name/],
    [{ path: '/;x' }, /without a semicolon/],
    [{ domain: 'a\r\nb' }, /without a semicolon/],
    [{ sameSite: 'none' as const }, /needs secure/],
    [{ sameSite: 'loose' as 'lax' }, /is not a sameSite/],
  ])('refuses %j', (options, message) => {
    expect(() => expressSession(pool, options)).toThrow(message);
  });

  it('refuses a pool that does not sign its tokens', () => {
    expect(() => expressSession(connect({ hosts: [{ host: 'db' }] }))).toThrow(/tokenSecret/);
  });
});

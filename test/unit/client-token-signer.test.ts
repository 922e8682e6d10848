import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { TokenSigner } from '../../src/client/session/token-signer.ts';

const SECRET = 'a secret of the shop';
const HOUR_MS = 3_600_000;
const NOW_MS = 1_800_000_000_000;

const token = fc
  .tuple(fc.integer({ min: 1, max: 0xffffffff }), fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }))
  .map(([timeline, lsn]) => `${timeline}-${(lsn >> 32n).toString(16)}/${(lsn & 0xffffffffn).toString(16)}`);

const signer = new TokenSigner([SECRET], 'shop', HOUR_MS);

describe('a signed token', () => {
  it('is what was signed, short, and fit for a cookie', () => {
    fc.assert(
      fc.property(token, (text) => {
        const signed = signer.sign(text, NOW_MS);
        expect(signer.verify(signed, NOW_MS + 1000)).toEqual({ kind: 'valid', token: text });
        expect(signed.length).toBeLessThan(70);
        // RFC 6265: cookie-octet.
        expect(signed).toMatch(/^[\u0021\u0023-\u002b\u002d-\u003a\u003c-\u005b\u005d-\u007e]+$/);
      }),
    );
  });

  it('is refused after any change of a character, and when cut short', () => {
    fc.assert(
      fc.property(token, fc.nat(), fc.constantFrom('0', 'A', '/', '-', '.', 'z'), (text, at, character) => {
        const signed = signer.sign(text, NOW_MS);
        const index = at % signed.length;
        const changed = signed.slice(0, index) + character + signed.slice(index + 1);
        if (changed !== signed) expect(signer.verify(changed, NOW_MS).kind).toBe('refused');
        expect(signer.verify(signed.slice(0, index), NOW_MS).kind).toBe('refused');
      }),
    );
  });

  it('is refused when it comes from another secret or database, is unsigned, or is not a token at all', () => {
    const text = '1-0/16B3748';
    const foreign = new TokenSigner(['a secret of the bank'], 'shop', HOUR_MS).sign(text, NOW_MS);
    const elsewhere = new TokenSigner([SECRET], 'bank', HOUR_MS).sign(text, NOW_MS);
    expect(signer.verify(foreign, NOW_MS)).toEqual({ kind: 'refused', reason: 'forged' });
    expect(signer.verify(elsewhere, NOW_MS)).toEqual({ kind: 'refused', reason: 'forged' });
    for (const nonsense of [text, '', '.', '..', 'x'.repeat(10_000), `${text}.a.${'é'.repeat(22)}`]) {
      expect(signer.verify(nonsense, NOW_MS)).toEqual({ kind: 'refused', reason: 'malformed' });
    }
  });

  it('is refused when it is too old, not when its clock ran ahead', () => {
    const signed = signer.sign('1-0/16B3748', NOW_MS);
    expect(signer.verify(signed, NOW_MS + HOUR_MS).kind).toBe('valid');
    expect(signer.verify(signed, NOW_MS + HOUR_MS + 1)).toEqual({ kind: 'refused', reason: 'expired' });
    expect(signer.verify(signed, NOW_MS - HOUR_MS).kind).toBe('valid');
  });

  it('outlives a change of secrets for as long as the old one is listed', () => {
    const next = 'the secret after it';
    const during = new TokenSigner([next, SECRET], 'shop', HOUR_MS);
    const after = new TokenSigner([next], 'shop', HOUR_MS);
    const old = signer.sign('1-0/1', NOW_MS);
    expect(during.verify(old, NOW_MS).kind).toBe('valid');
    expect(after.verify(old, NOW_MS).kind).toBe('refused');
    expect(after.verify(during.sign('1-0/1', NOW_MS), NOW_MS).kind).toBe('valid');
  });
});

describe('a session of a pool with a tokenSecret', () => {
  const open = (tokenSecret?: string | string[]): ReturnType<typeof connect> =>
    connect({ hosts: [{ host: 'db' }], database: 'shop', ...(tokenSecret && { tokenSecret }) });

  it('takes signed tokens alone, and goes on from the newest of several', () => {
    const pool = open(SECRET);
    const [older, newer] = ['1-0/100', '1-0/200'].map((text) => signer.sign(text, Date.now()));
    expect(pool.session({ token: [newer ?? '', older ?? ''] }).token).toMatch(/^1-0\/200\.\w+\.[\w-]{22}$/);
    expect(() => pool.session({ token: '1-0/100' })).toThrowError(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/malformed/) }),
    );
    expect(pool.stats().tokensRefused).toBe(0);
  });

  it('leaves out and counts what is no token of its own when asked to', () => {
    const pool = open(SECRET);
    const good = signer.sign('1-0/100', Date.now());
    const token = ['nonsense', '9-FFFFFFFF/0', good.slice(0, -1), good, good.replace('100', '900')];
    expect(pool.session({ token, ignoreInvalidToken: true }).token).toMatch(/^1-0\/100\./);
    expect(pool.session({ token: 'nonsense', ignoreInvalidToken: true }).token).toBeNull();
    expect(pool.stats().tokensRefused).toBe(5);
  });

  it.each([
    ['null', null],
    ['a number', 7],
    ['an object', {}],
    ['a list with a gap', [undefined]],
  ])('says what it takes where %s is given, and leaves that out when asked to', (_what, given) => {
    const token = given as unknown as string;
    for (const pool of [open(), open(SECRET)]) {
      expect(() => pool.session({ token })).toThrowError(
        expect.objectContaining({
          code: 'CONFIG_INVALID',
          message: expect.stringMatching(/^Pass a session's token as a text/),
        }),
      );
      expect(pool.session({ token, ignoreInvalidToken: true }).token).toBeNull();
      expect(pool.stats().tokensRefused).toBe(1);
    }
  });

  it('has plain tokens without a secret, and refuses secrets that are none', () => {
    expect(open().session({ token: '1-0/100' }).token).toBe('1-0/100');
    for (const secret of ['short', [], [SECRET, ''], [SECRET, 'short']]) {
      expect(() => connect({ hosts: [{ host: 'db' }], tokenSecret: secret })).toThrow(/"tokenSecret"/);
    }
  });
});

describe('withSession', () => {
  it('refuses the session of another pool', () => {
    const [pool, other] = [0, 1].map(() => connect({ hosts: [{ host: 'db' }] }));
    expect(() => pool?.withSession(other?.session() ?? {}, () => 1)).toThrow(/another pool/);
    expect(pool?.withSession({}, (session) => session.token)).toBeNull();
  });
});

import { createHmac, timingSafeEqual } from 'node:crypto';
import { isExpired, MAC_CHARACTERS, renderPayload, splitSignedToken } from './core/signed-token.ts';
import type { TokenRefusal } from './core/signed-token.ts';

export type VerifiedToken =
  | { readonly kind: 'valid'; readonly token: string }
  | { readonly kind: 'refused'; readonly reason: TokenRefusal };

/**
 * Signs tokens with HMAC-SHA256, so that what comes back from a browser is what this app has sent there.
 * The first secret signs, all of them verify: a new one is put in front, and the old one taken away when
 * its tokens have expired. `scope` (the database's name) is signed along, so that a token of another
 * database is not taken for one of this.
 */
export class TokenSigner {
  readonly #secrets: readonly string[];
  readonly #scope: string;
  readonly #maxAgeMs: number;

  /** `secrets` is not empty. */
  constructor(secrets: readonly string[], scope: string, maxAgeMs: number) {
    this.#secrets = secrets;
    this.#scope = scope;
    this.#maxAgeMs = maxAgeMs;
  }

  /** `nowMs` is wall-clock time, since other machines judge the age. */
  sign(token: string, nowMs: number): string {
    const payload = renderPayload(token, nowMs / 1000);
    return `${payload}.${this.#macOf(payload, this.#secrets[0] ?? '')}`;
  }

  verify(text: string, nowMs: number): VerifiedToken {
    const signed = splitSignedToken(text);
    if (signed === null) return { kind: 'refused', reason: 'malformed' };
    const given = Buffer.from(signed.mac);
    const isOurs = this.#secrets.some((secret) =>
      timingSafeEqual(Buffer.from(this.#macOf(signed.payload, secret)), given),
    );
    if (!isOurs) return { kind: 'refused', reason: 'forged' };
    if (isExpired(signed, nowMs, this.#maxAgeMs)) return { kind: 'refused', reason: 'expired' };
    return { kind: 'valid', token: signed.token };
  }

  #macOf(payload: string, secret: string): string {
    const mac = createHmac('sha256', secret).update(`${this.#scope}\n${payload}`).digest('base64url');
    return mac.slice(0, MAC_CHARACTERS);
  }
}

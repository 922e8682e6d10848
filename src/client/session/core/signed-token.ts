/**
 * A session's token as it may leave the servers: `1-0/16B3748.tgk3a2.<mac>`, the token, when it was issued
 * (Unix seconds, base 36) and a message authentication code over both. All characters may stand in a cookie.
 */
export interface SignedToken {
  readonly token: string;
  readonly issuedAtSec: number;
  /** What the code is made over. */
  readonly payload: string;
  readonly mac: string;
}

/** Why a signed token is not believed. */
export type TokenRefusal = 'malformed' | 'forged' | 'expired';

/** 128 bits in base64url: half of HMAC-SHA256, as RFC 2104 (section 5) allows. */
export const MAC_CHARACTERS = 22;

/** No token is longer, so nothing longer is looked at. */
const MAX_CHARACTERS = 160;

const SIGNED_TOKEN = /^([0-9A-Fa-f/-]+)\.([0-9a-z]{1,8})\.([\w-]+)$/;

export function renderPayload(token: string, issuedAtSec: number): string {
  return `${token}.${Math.max(0, Math.floor(issuedAtSec)).toString(36)}`;
}

/** Null when the text does not have the shape of a signed token. */
export function splitSignedToken(text: string): SignedToken | null {
  const match = text.length > MAX_CHARACTERS ? null : SIGNED_TOKEN.exec(text);
  const [, token = '', issued = '', mac = ''] = match ?? [];
  if (match === null || mac.length !== MAC_CHARACTERS) return null;
  return { token, issuedAtSec: Number.parseInt(issued, 36), payload: `${token}.${issued}`, mac };
}

/** The part of a token that says what was seen: the rest changes each time it is signed. */
export function positionOf(text: string | null): string | null {
  return text?.split('.', 1)[0] ?? null;
}

/**
 * Whether it was issued longer ago than `maxAgeMs`. One from the future is not: the clock that issued it
 * runs ahead, which harms nobody.
 */
export function isExpired(signed: SignedToken, nowMs: number, maxAgeMs: number): boolean {
  return nowMs - signed.issuedAtSec * 1000 > maxAgeMs;
}

/** Attributes of the session's cookies. */
export interface CookieAttributes {
  readonly path: string;
  readonly domain: string | undefined;
  readonly sameSite: 'strict' | 'lax' | 'none';
  readonly isSecure: boolean;
  readonly maxAgeSec: number;
}

/** A cookie of the session that a request carried. */
export interface CarriedCookie {
  readonly name: string;
  readonly value: string;
}

/**
 * How many cookies one session may be spread over. Each answer sets one of its own and removes those that
 * its request carried, since it covers them. So an answer that comes late does not overwrite the newer token
 * of another tab, unless two answers that crossed had the same slot.
 */
export const COOKIE_SLOTS = 8;

export function cookieName(base: string, slot: number): string {
  return `${base}.${slot}`;
}

/** The session's cookies in a `Cookie` header. Source: RFC 6265, section 4.2. */
export function readSessionCookies(header: string | null | undefined, base: string): CarriedCookie[] {
  if (header == null || !header.includes(`${base}.`)) return [];
  const names = new Set(Array.from({ length: COOKIE_SLOTS }, (_, slot) => cookieName(base, slot)));
  const found: CarriedCookie[] = [];
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=');
    const name = pair.slice(0, Math.max(0, equals)).trim();
    if (!names.has(name)) continue;
    const value = pair.slice(equals + 1).trim();
    found.push({ name, value: /^".*"$/.test(value) ? value.slice(1, -1) : value });
  }
  return found;
}

/** The slot for an answer: the next one in turn that its request did not carry. */
export function chooseSlot(base: string, turn: number, carried: readonly CarriedCookie[]): number {
  for (let step = 0; step < COOKIE_SLOTS; step += 1) {
    const slot = (turn + step) % COOKIE_SLOTS;
    if (!carried.some(({ name }) => name === cookieName(base, slot))) return slot;
  }
  return turn % COOKIE_SLOTS;
}

/** The `Set-Cookie` values that put `value` into `slot` and remove what the request carried. */
export function renderSetCookies(
  base: string,
  slot: number,
  value: string,
  carried: readonly CarriedCookie[],
  attributes: CookieAttributes,
): string[] {
  const own = cookieName(base, slot);
  const removed = new Set(carried.map(({ name }) => name).filter((name) => name !== own));
  return [
    renderSetCookie(own, value, attributes),
    ...[...removed].map((name) => renderSetCookie(name, '', { ...attributes, maxAgeSec: 0 })),
  ];
}

function renderSetCookie(name: string, value: string, attributes: CookieAttributes): string {
  const { path, domain, sameSite, isSecure, maxAgeSec } = attributes;
  const parts = [`${name}=${value}`, `Max-Age=${maxAgeSec}`, `Path=${path}`, 'HttpOnly'];
  if (domain !== undefined) parts.push(`Domain=${domain}`);
  parts.push(`SameSite=${sameSite === 'none' ? 'None' : sameSite === 'strict' ? 'Strict' : 'Lax'}`);
  if (isSecure) parts.push('Secure');
  return parts.join('; ');
}

import { createHash, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/**
 * How agents prove to each other that they know their cluster's secrets, over connections that others can
 * read and change. Each code names its purpose first, so that none passes for another: an answer is no
 * request, and what one side of a link says is nothing that the other side said (RFC 2104; the argument is
 * in docs/internals/agent-seals.md).
 */
export interface RequestSeal {
  readonly from: string;
  readonly to: string;
  /** Fresh for each request: the answer is bound to it. */
  readonly nonce: string;
  /** Of the body, by {@link digestOf}: so that the header can be judged before a byte of the body is read. */
  readonly digest: string;
}

/** The key that all agents of a cluster share, and the people who may command them. */
export function sealKey(
  cluster: string,
  secrets: { readonly agent: string; readonly superuser: string },
): KeyObject {
  const superuser = createSecretKey(Buffer.from(secrets.superuser));
  return createSecretKey(mac(superuser, 'agents', [cluster, secrets.agent], ''));
}

export function requestCode(key: KeyObject, seal: RequestSeal, method: string, path: string): string {
  const { from, to, nonce, digest } = seal;
  return mac(key, 'request', [from, to, nonce, digest, method, path], '').toString('base64url');
}

export function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('base64url');
}

export function answerCode(key: KeyObject, seal: RequestSeal, status: number, body: string): string {
  const { from, to, nonce } = seal;
  return mac(key, 'answer', [from, to, nonce, String(status)], body).toString('base64url');
}

/** What an agent gives out for one command of a person, to see that it comes once and soon. */
export function challengeCode(key: KeyObject, issuedAt: string): string {
  return mac(key, 'challenge', [issuedAt], '').toString('base64url');
}

/** Of one link. Both sides put a nonce in, so that neither can be made to use a key a second time. */
export function linkKey(key: KeyObject, seal: RequestSeal, answerNonce: string): KeyObject {
  return createSecretKey(mac(key, 'link', [seal.from, seal.to, seal.nonce, answerNonce], ''));
}

/** Of the line with this number, counted from 0 for each direction. */
export function lineCode(key: KeyObject, side: 'opener' | 'other', number: number, line: string): string {
  return mac(key, side, [String(number)], line)
    .subarray(0, 16)
    .toString('base64url');
}

/** What the key of {@link NewsSigner} is made of. */
export function newsSeed(key: KeyObject): Buffer {
  return mac(key, 'news', [], '');
}

/** Compares in a time that does not tell how much of it is right. */
export function isSameCode(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * The fields are kept apart by their lengths; the body comes last and has none. Agents seal hundreds of lines a second, and
 * a key that is given as bytes costs Node.js several times what the code itself does.
 */
function mac(key: KeyObject, purpose: string, fields: readonly string[], body: string): Buffer {
  const head = [purpose, ...fields].map((field) => `${Buffer.byteLength(field)}:${field}`).join('');
  return createHmac('sha256', key).update(`${head};`).update(body).digest();
}

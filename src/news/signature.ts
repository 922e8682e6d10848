import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/**
 * What agents publish to everyone (who leads, what happened) is signed, for it comes without a request that could be
 * sealed, and its readers have no secret: Ed25519 (RFC 8032). A signature is over the event's name and its data, so that
 * no event passes for one of another kind.
 */
export interface NewsSigner {
  /** For {@link createNewsVerifier}; no secret. */
  readonly publicKey: string;
  sign(event: string, data: string): string;
}

/** Whether who has the key signed this. */
export type NewsVerifier = (event: string, data: string, signature: string) => boolean;

/** What stands before the 32 bytes of a key in DER. Source: RFC 8410. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const KEY_BYTES = 32;

/** The same signer for the same 32 bytes, so that all agents of a cluster are one to their readers. */
export function createNewsSigner(seed: Buffer): NewsSigner {
  const key = createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, seed]), format: 'der', type: 'pkcs8' });
  const der = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    publicKey: der.subarray(PUBLIC_PREFIX.length).toString('base64url'),
    sign: (event, data) => sign(null, signedBytes(event, data), key).toString('base64url'),
  };
}

/** Null for a text that is no key. */
export function createNewsVerifier(publicKey: string): NewsVerifier | null {
  const bytes = Buffer.from(publicKey, 'base64url');
  if (bytes.length !== KEY_BYTES) return null;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, bytes]), format: 'der', type: 'spki' });
  } catch {
    return null;
  }
  return (event, data, signature) =>
    verify(null, signedBytes(event, data), key, Buffer.from(signature, 'base64url'));
}

function signedBytes(event: string, data: string): Buffer {
  return Buffer.from(`lockstep news\n${event}\n${data}`);
}

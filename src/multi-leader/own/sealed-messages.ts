import { createHmac, timingSafeEqual } from 'node:crypto';

/** Of 32 bytes in base64url. */
const CODE_BYTES = 43;
const SPACE = 0x20;

/** Content for the log, with a code: whoever may run SQL could write a message of the same prefix. */
export function sealMessage(prefix: string, content: string, key: Buffer): string {
  return `${codeOf(prefix, content, key)} ${content}`;
}

/**
 * Null for a message that the region itself did not write. Anybody may write one, of more bytes than a string holds: none
 * is made of it before its code was found right.
 */
export function openMessage(prefix: string, message: Buffer, key: Buffer): string | null {
  if (message[CODE_BYTES] !== SPACE) return null;
  const content = message.subarray(CODE_BYTES + 1);
  const wanted = Buffer.from(codeOf(prefix, content, key));
  return timingSafeEqual(message.subarray(0, CODE_BYTES), wanted) ? content.toString('utf8') : null;
}

function codeOf(prefix: string, content: string | Buffer, key: Buffer): string {
  return createHmac('sha256', key).update(`${prefix}\n`).update(content).digest('base64url');
}

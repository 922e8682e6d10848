import { createHmac, timingSafeEqual } from 'node:crypto';

/** Content for the log, with a code: whoever may run SQL could write a message of the same prefix. */
export function sealMessage(prefix: string, content: string, key: Buffer): string {
  return `${codeOf(prefix, content, key)} ${content}`;
}

/** Null for a message that the region itself did not write. */
export function openMessage(prefix: string, message: string, key: Buffer): string | null {
  const end = message.indexOf(' ');
  const content = message.slice(end + 1);
  const [said, wanted] = [Buffer.from(message.slice(0, end)), Buffer.from(codeOf(prefix, content, key))];
  return said.length === wanted.length && timingSafeEqual(said, wanted) ? content : null;
}

function codeOf(prefix: string, content: string, key: Buffer): string {
  return createHmac('sha256', key).update(`${prefix}\n${content}`).digest('base64url');
}

import type { Context } from 'hono';

/** Whether the shop stands behind a proxy, which then says who asks, and over what. */
export interface Place {
  readonly isBehindProxy: boolean;
}

interface NodeBindings {
  readonly incoming?: { readonly socket: { readonly remoteAddress?: string } };
}

/** Where a request comes from. Without a proxy its headers say nothing: anyone can write them. */
export function addressOf(c: Context, { isBehindProxy }: Place): string {
  // The proxy appends whom it saw; what stands before that came along with the request.
  const forwarded = c.req.header('x-forwarded-for')?.split(',').at(-1)?.trim();
  if (isBehindProxy && forwarded) return forwarded;
  return (c.env as NodeBindings | undefined)?.incoming?.socket.remoteAddress ?? 'unknown';
}

/** Whether it came encrypted, to this shop or to its proxy. */
export function isEncrypted(c: Context, { isBehindProxy }: Place): boolean {
  if (isBehindProxy) return c.req.header('x-forwarded-proto')?.split(',').at(-1)?.trim() === 'https';
  return new URL(c.req.url).protocol === 'https:';
}

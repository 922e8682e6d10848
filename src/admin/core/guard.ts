const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;

/**
 * Whether a Host header names this machine. A page of another site that resolves its own name to 127.0.0.1
 * (DNS rebinding) still sends its own name here, and is refused by it.
 */
export function isLoopbackHost(host: string | undefined): boolean {
  return host !== undefined && LOOPBACK_HOST.test(host);
}

/** The token of an `Authorization: Bearer …` header, null for any other form. Source: RFC 6750, section 2.1. */
export function parseBearer(authorization: string | undefined): string | null {
  const match = /^Bearer +([^\s]+) *$/i.exec(authorization ?? '');
  return match?.[1] ?? null;
}

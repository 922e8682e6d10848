import { isIP } from 'node:net';

/** What pg_hba.conf takes for an address and means many by: no host may have such a name. */
const HBA_KEYWORDS: ReadonlySet<string> = new Set(['all', 'samehost', 'samenet']);

const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const HOST_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);

/**
 * Whether others can be told to reach a server there: an IP address of one machine, or a name by RFC 1123 (with `_`, as
 * container networks have it). Such a text can stand unquoted in pg_hba.conf, a service file or a URL. All addresses of
 * a machine (0.0.0.0) are none at which others reach it.
 */
export function isHost(text: string): boolean {
  if (isIP(text) !== 0) return text !== '0.0.0.0' && text !== '::' && !text.includes('%');
  const isName = text.length <= 253 && HOST_NAME.test(text) && !HBA_KEYWORDS.has(text.toLowerCase());
  // Resolvers take `10.1` and `127.1` for addresses.
  return isName && !/(?:^|\.)\d+$/.test(text);
}

/** Whether the text is a network in CIDR notation, and nothing more. */
export function isNetwork(text: string): boolean {
  const [address = '', length = '', ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || address.includes('%') || rest.length > 0 || !/^(?:0|[1-9]\d{0,2})$/.test(length))
    return false;
  return Number(length) <= (version === 4 ? 32 : 128);
}

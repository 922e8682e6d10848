/** `host:port/database` of a connection string. */
export function addressIn(url: string): string {
  const { hostname, port, pathname } = new URL(url);
  return `${hostname}:${port === '' ? '5432' : port}${pathname}`;
}

/** The connection string with another `host:port/database`, and the same user, password and parameters. */
export function urlAt(url: string, address: string): string {
  const changed = new URL(url);
  const [host = '', database = ''] = address.split('/');
  changed.host = host;
  changed.pathname = `/${database}`;
  return changed.toString();
}

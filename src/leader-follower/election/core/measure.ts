/** The middle value, the lower of the two middle ones; null of none. */
export function medianOf(values: readonly number[]): number | null {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? null;
}

/**
 * The round trip to the nearest nodes that make a majority with this one: what its renewals take at least.
 * Null while too few were measured.
 */
export function majorityRoundTripMs(
  roundTripsMs: readonly (number | null)[],
  nodeCount: number,
): number | null {
  const others = Math.floor(nodeCount / 2);
  if (others === 0) return 0;
  const known = roundTripsMs.filter((ms) => ms !== null).toSorted((a, b) => a - b);
  return known[others - 1] ?? null;
}

/**
 * Reads the output of `ss -tinH`: milliseconds by the other side's `address:port`. A socket is a line of
 * two queues and two addresses, and an indented line with `rtt:<average>/<deviation>`.
 */
export function parseSocketRoundTrips(text: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  let peer: string | null = null;
  for (const line of text.split('\n')) {
    if (!/^\s/.test(line)) peer = line.trim().split(/\s+/)[3] ?? null;
    const ms = /\brtt:([\d.]+)/.exec(line)?.[1];
    // `[::ffff:10.0.0.1]:5432` and `[::1]:5432`.
    if (peer !== null && ms !== undefined) {
      found.set(peer.replace(/^\[(?:::ffff:)?([^\]]+)\]/, '$1'), Number(ms));
    }
  }
  return found;
}

import type { NodeKey } from '../../../model/node.ts';
import type { Place } from '../../app/options.ts';

/** One address at which a server is expected. */
export interface Member {
  readonly key: NodeKey;
  readonly address: string;
  readonly port: number;
  /** The name that was resolved to the address, which its certificate is for; null where none was. */
  readonly serverName: string | null;
  readonly zone: string | null;
  readonly weight: number;
  /** Who names the address, and since when no more; null while they do. */
  readonly namedBy: ReadonlyMap<string, number | null>;
}

export type Members = ReadonlyMap<NodeKey, Member>;

/**
 * Records which addresses `source` names now for `place`. What it named before and no longer does has left,
 * but stays a member until {@link dropDeparted}: an endpoint may show another of its servers at each look.
 * An address that several name is one member, with the name, zone and weight of the first.
 */
export function nameAddresses(
  members: Members,
  source: string,
  place: Place,
  addresses: readonly string[],
  nowMs: number,
): Members {
  const next = new Map(members);
  for (const member of members.values()) {
    if (member.namedBy.get(source) !== null || addresses.includes(member.address)) continue;
    next.set(member.key, { ...member, namedBy: new Map([...member.namedBy, [source, nowMs]]) });
  }
  for (const address of addresses) {
    const { port, zone, weight } = place;
    const key = `${address}:${port}`;
    const known = next.get(key);
    const serverName = address === place.host ? null : place.host;
    const namedBy = new Map<string, number | null>([...(known?.namedBy ?? []), [source, null]]);
    next.set(key, { ...(known ?? { key, address, port, serverName, zone, weight }), namedBy });
  }
  return next;
}

/** Whether nobody names the address any more. */
export function isDeparted(member: Member): boolean {
  for (const leftAtMs of member.namedBy.values()) if (leftAtMs === null) return false;
  return true;
}

/** The members without those that nobody has named for `graceMs`; the same map when none is dropped. */
export function dropDeparted(members: Members, nowMs: number, graceMs: number): Members {
  const kept = [...members].filter(([, member]) =>
    [...member.namedBy.values()].some((leftAtMs) => leftAtMs === null || nowMs - leftAtMs < graceMs),
  );
  return kept.length === members.size ? members : new Map(kept);
}

/**
 * Which write of a row is the later one: commit time at its origin, then the origin, then its place in the origin's
 * log. A total order that every region computes alike, whatever the order of arrival.
 */
export interface Version {
  /** Microseconds since 1970, as the origin's server stamped the commit. */
  readonly timeUs: number;
  /** The origin's number in the list of regions. */
  readonly region: number;
  /** Of the commit record. 0 where it is not known: of a row read by its commit timestamp alone. */
  readonly lsn: bigint;
}

/** Negative when `a` is the earlier one. */
export function compareVersions(a: Version, b: Version): number {
  if (a.timeUs !== b.timeUs) return a.timeUs - b.timeUs;
  if (a.region !== b.region) return a.region - b.region;
  return a.lsn === b.lsn ? 0 : a.lsn < b.lsn ? -1 : 1;
}

/**
 * Whether an incoming change replaces what stands at `current`; null is settled, older than anything that can come.
 * Of one origin and time the incoming one wins: an origin's changes of a row arrive in the order they were made in.
 */
export function supersedes(incoming: Version, current: Version | null): boolean {
  if (current === null) return true;
  if (incoming.timeUs !== current.timeUs) return incoming.timeUs > current.timeUs;
  return incoming.region >= current.region;
}

/** The later of two, where the first may be missing. */
export function laterVersion(a: Version | null | undefined, b: Version): Version {
  return a == null || compareVersions(b, a) > 0 ? b : a;
}

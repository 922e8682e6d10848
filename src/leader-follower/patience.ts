/** How long the steps of agents wait for each other. The simulation waits as long. */

/** What cluster.json leaves out. etcd needs up to 2 s to replace its own leader (`--election-timeout`), and nobody can renew meanwhile. */
export const DEFAULT_LEASE_TTL_MS = { embedded: 2_500, etcd: 5_000 } as const;
export const DEFAULT_SUPPORT_MS = 600;

/** How often the leader pings. Ten pings in a row may be lost or late before support of the default length ends. */
export const PING_INTERVAL_MS = 50;
/** A leader that writes nothing for so long stops pinging, in case it cannot hand over. */
export const SILENT_AFTER_FAILING_MS = 4_000;

/** A peer that was not heard for this long counts as unreachable. */
export const PEER_SILENT_AFTER_MS = 1_000;

/** A failing action is tried again, but not in a tight loop. */
export const RETRY_MS = 1_000;

export const FENCE_TIMEOUT_MS = 1_500;
/** Once enough members answered, how long the others may still tell of newer data. */
export const LATECOMER_MS = 50;
/** A new leader is supported by those that answered its fence, within a round trip. */
export const SUPPORT_TIMEOUT_MS = 400;

export const TAKEOVER_TIMEOUT_MS = 5_000;
/** How long the end of a log that has been written may take to arrive and to be replayed. */
export const ARRIVAL_LIMIT_MS = 400;
export const ARRIVAL_CHECK_MS = 2;

/** What asks the local PostgreSQL waits so long: a suspended one never answers. */
export const PROBE_TIMEOUT_MS = 1_500;
export const POSITION_TIMEOUT_MS = 5_000;
/** A leader looks as often whether its PostgreSQL still writes. */
export const WRITE_CHECK_INTERVAL_MS = 500;

/** A follower that stops streaming is kept this long: a reconnect takes less. */
export const REMOVAL_DELAY_MS = 2_000;
/** A follower that gets on with nothing for so long hangs, or is away: people are told. */
export const SILENT_FOLLOWER_MS = 3_000;
/**
 * After a reload, how long until every walsender surely works with the new names. They take a reload
 * before they read the next reply of their follower.
 */
export const RELOAD_SETTLES_MS = 1_000;

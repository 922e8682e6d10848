import { isDeepStrictEqual } from 'node:util';
import type { LockstepOptions } from './app/options.ts';
import { connect } from './pool.ts';
import type { LockstepPool } from './pool.ts';

interface SharedPool {
  readonly options: LockstepOptions;
  readonly pool: LockstepPool;
  users: number;
}

/** One user's hold on a pool. */
export interface PoolShare {
  readonly pool: LockstepPool;
  /** The last user's ends the pool, and resolves when its connections are closed. */
  release(): Promise<void>;
}

const shared = new Set<SharedPool>();

/**
 * A pool that every caller with equal options gets, so that many clients do not each ask every server. Its
 * number of connections has no limit of its own: each client uses at most one. Functions in the options are
 * equal when they are the same.
 */
export function sharePool(options: LockstepOptions): PoolShare {
  const found = [...shared].find((entry) => isDeepStrictEqual(entry.options, options)) ?? add(options);
  found.users += 1;
  let isHeld = true;
  const release = async (): Promise<void> => {
    if (!isHeld) return;
    isHeld = false;
    found.users -= 1;
    if (found.users > 0) return;
    shared.delete(found);
    await found.pool.end();
  };
  return { pool: found.pool, release };
}

function add(options: LockstepOptions): SharedPool {
  const pool = connect({ ...options, max: Number.MAX_SAFE_INTEGER });
  const entry = { options, pool, users: 0 };
  shared.add(entry);
  return entry;
}

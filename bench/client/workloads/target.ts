import pg from 'pg';
import { connect } from '../../../src/index.ts';
import type { LockstepPool } from '../../../src/index.ts';
import type { Address, Login } from '../servers.ts';

/** Whom a workload talks to, through which kind of pool. */
export interface Target {
  readonly pool: 'lockstep' | 'pg';
  /** All servers for Lockstep; a plain pool takes the first. */
  readonly hosts: readonly Address[];
  readonly login: Login;
  readonly connections: number;
  /** At which use Lockstep prepares a statement; its own default when absent, 0 for never. */
  readonly prepareAfter?: number;
  /** See `hedgeAfterMs` of the pool. */
  readonly hedgeAfterMs?: number;
  /** See `consistency` of the pool. */
  readonly consistency?: 'own-writes' | 'eventual';
}

/** Between a contestant's rounds its connections are idle, which must not close them. */
const IDLE_TIMEOUT_MS = 120_000;

export function openPool(target: Target): pg.Pool {
  return target.pool === 'lockstep' ? openLockstep(target) : openPlain(target);
}

export function openLockstep({
  hosts,
  login,
  connections,
  prepareAfter,
  hedgeAfterMs,
  consistency,
}: Target): LockstepPool {
  const idleTimeoutMillis = IDLE_TIMEOUT_MS;
  const how = { idleTimeoutMillis, prepareAfter, hedgeAfterMs, consistency };
  return connect({ hosts, ...login, max: connections, ...how });
}

export function openPlain(
  { hosts, login, connections }: Target,
  host: Address | undefined = hosts[0],
): pg.Pool {
  if (host === undefined) throw new Error('A pool needs a server.');
  return new pg.Pool({ ...host, ...login, max: connections, idleTimeoutMillis: IDLE_TIMEOUT_MS });
}

/** Ids 1 to `count` in a scattered order that is the same for every contestant. */
export function scatteredIds(count: number): () => number {
  let state = 1;
  return () => {
    // Source: the "minimal standard" generator of Park and Miller.
    state = (state * 48_271) % 2_147_483_647;
    return (state % count) + 1;
  };
}

import type { PoolClient, PoolConfig } from 'pg';
import type { Servers } from './servers.ts';
import { NONE_EXCLUDED } from './route/node-finder.ts';
import type { RouteProgress } from './route/node-finder.ts';
import type { SessionState } from './session/session-state.ts';
import type { StatementRunner } from './statement/runner.ts';
import { VirtualClient } from './statement/virtual-client.ts';

/** What {@link checkOut} works with. */
export interface CheckoutParts {
  readonly servers: Servers;
  readonly runner: StatementRunner;
  /** The pool's options: a client shows the account, and has hooks to pass. */
  readonly config: PoolConfig & { readonly binary?: boolean; readonly verify?: unknown };
  sessionOf(): SessionState | null;
  released(client: VirtualClient, error: Error | boolean | undefined): void;
}

/**
 * Lends a client, which holds one of the pool's places. Throws what pg-pool throws when none is free in time, and
 * NO_LEADER when no server is there to connect to.
 */
export async function checkOut(parts: CheckoutParts): Promise<VirtualClient> {
  const { servers, runner, config } = parts;
  const startedAtMs = runner.parts.clock.nowMs();
  runner.pending.begin();
  try {
    await servers.takePlace();
  } catch (error) {
    runner.pending.done();
    throw error;
  }
  try {
    const client = new VirtualClient(
      runner,
      servers.pools,
      (error) => {
        servers.budget.give();
        parts.released(client, error);
        runner.pending.done();
      },
      parts.sessionOf,
    );
    const { user, database, binary = false } = config;
    Object.assign(client, { user, database, binary, pipeline: false });
    await prepare(client, parts, startedAtMs);
    return client;
  } catch (error) {
    servers.budget.give();
    runner.pending.done();
    throw error;
  }
}

/**
 * pg-pool connects before it hands out a client, so that a wrong address shows here, and what its hooks throw. A
 * connection is opened for that only where a hook is to run and none is idle: the first statement tells which
 * server it is for.
 */
async function prepare(
  client: VirtualClient,
  { servers, runner, config }: CheckoutParts,
  startedAtMs: number,
): Promise<void> {
  const hasHooks = config.onConnect !== undefined || config.verify !== undefined;
  const opens = hasHooks && servers.pools.idleCount === 0;
  if (!opens && servers.monitor.view.some((node) => node.isUp)) return;
  const { failoverTimeoutMs } = runner.parts.limits;
  const { waitLimitMs } = servers;
  const progress: RouteProgress = {
    session: null,
    deadlineMs: startedAtMs + Math.min(failoverTimeoutMs, waitLimitMs),
    isAppsLimit: waitLimitMs < failoverTimeoutMs,
    excluded: NONE_EXCLUDED,
    access: 'any',
    lastError: null,
  };
  if (opens) await client.open(progress);
  else await runner.finder.awaitRoute(progress);
}

/** As pg's callback form wants it. */
export function releaseOf(client: PoolClient | undefined): (release?: unknown) => void {
  return client === undefined ? () => undefined : (client.release as (release?: unknown) => void);
}

import type { PoolConfig } from 'pg';
import { connect, LockstepPool } from '../../src/index.ts';
import type { LockstepPoolOptions } from '../../src/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';

/** A read that goes to the leader, where the counts of connections are told by one server alone. */
export const NOW = '/* lockstep: leader */ SELECT now()';

/** One way to make the pool that all of pg-pool's behaviours are asked of. */
export interface PoolKind {
  readonly name: string;
  readonly isSingleServer: boolean;
  create(options?: LockstepPoolOptions): LockstepPool;
  /** A pool for a server that is not there, or is none. */
  createFor(port: number, options?: LockstepPoolOptions): LockstepPool;
}

/** Where the cluster's leader is, as pg takes it. */
export async function leaderAddress(cluster: TestCluster): Promise<PoolConfig> {
  const name = await cluster.leader();
  const { dsn } = cluster.nodes.find((node) => node.name === name) ?? {};
  const { hostname, port, username, password, pathname } = new URL(dsn ?? '');
  return {
    host: hostname,
    port: Number(port),
    user: username,
    password: decodeURIComponent(password),
    database: pathname.slice(1),
  };
}

/** Both ways: with pg's own options for one server, and with `connect()` for all of them. */
export function poolKinds(cluster: () => TestCluster, leader: () => PoolConfig): readonly PoolKind[] {
  const account = (): PoolConfig => {
    const { user, password, database } = leader();
    return { user, password, database } as PoolConfig;
  };
  return [
    {
      name: 'new LockstepPool(options)',
      isSingleServer: true,
      create: (options = {}) => new LockstepPool({ ...leader(), ...options }),
      createFor: (port, options = {}) =>
        new LockstepPool({ ...account(), host: '127.0.0.1', port, ...options }),
    },
    {
      name: 'connect() to a cluster',
      isSingleServer: false,
      create: (options = {}) =>
        connect({
          ...account(),
          hosts: cluster().nodes.map(({ host, port }) => ({ host, port })),
          ...options,
        }),
      createFor: (port, options = {}) =>
        connect({ ...account(), hosts: [{ host: '127.0.0.1', port }], failoverTimeoutMs: 300, ...options }),
    },
  ];
}

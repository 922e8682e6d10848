import type { SharedProcess } from '../../contest.ts';
import type { ContestantPlan } from '../../contestant.ts';
import { operationsPerSecond } from '../../row-plan.ts';
import type { RowPlan } from '../../row-plan.ts';
import { haproxy, pgbouncer, pgpool } from '../proxies/kinds.ts';
import { Proxy } from '../proxies/proxy.ts';
import type { ProxyKind } from '../proxies/proxy.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { Address, BenchServers } from '../servers.ts';
import type { Target } from '../workloads/target.ts';

const CONNECTIONS = 10;

type Operation = 'read' | 'write';

const WORKLOADS: Readonly<Record<Operation, string>> = { read: 'point-read', write: 'single-write' };

/** The proxies to compare with, and how many followers stand behind. */
interface Field {
  readonly name: string;
  readonly followers: number;
  readonly kinds: Readonly<Record<string, ProxyKind>>;
}

const ONE_SERVER: Field = {
  name: 'proxy',
  followers: 0,
  kinds: { pgbouncer, haproxy, pgpool: pgpool(false) },
};

const THREE_SERVERS: Field = {
  name: 'balancing-proxy',
  followers: 2,
  kinds: { pgpool: pgpool(true) },
};

/** Lockstep straight to the servers against `pg.Pool` through each proxy. */
function throughProxies(field: Field, operation: Operation): Scenario {
  const name = `${field.name}-${operation}`;
  return {
    name,
    roundShare: 0.5,
    roundMs: 1_000,
    prepare: async (servers, resources) => {
      const hosts = [servers.leader, ...(await servers.followers(field.followers))];
      const ours = plan(servers, operation, 'lockstep', 'Lockstep', 'lockstep', hosts);
      const contestants = [ours];
      const shared: SharedProcess[] = servers.processes(field.followers);
      for (const [key, kind] of Object.entries(field.kinds)) {
        const { name: program, debianPackage } = kind.program;
        const proxy = await Proxy.start(kind, servers.account, {
          backends: hosts,
          login: servers.login,
          connections: CONNECTIONS,
        });
        if (proxy === null) {
          const missing = `${program} is not installed; "npm run bench:peers" installs Debian's ${debianPackage}.`;
          contestants.push({ ...plan(servers, operation, key, `pg.Pool, ${program}`, 'pg', hosts), missing });
        } else {
          resources.use(proxy);
          shared.push({ name: program, pid: proxy.pid });
          contestants.push(plan(servers, operation, key, `pg.Pool, ${program}`, 'pg', [proxy.address]));
        }
      }
      const row = { unit: `${operation}s/s`, ours: 'lockstep', measure: operationsPerSecond };
      const rows: RowPlan[] = Object.keys(field.kinds).map((peer) => ({
        ...row,
        metric: `${name}/${peer}`,
        peer,
        bar: { above: 1 },
      }));
      if (operation === 'write' && field.followers > 0) {
        contestants.push(withoutOwnWrites(ours));
        rows.push({ ...row, metric: `${name}/own-writes`, peer: 'eventual', bar: null });
      }
      return { contestants, shared, rows };
    },
  };
}

function plan(
  { login }: BenchServers,
  operation: Operation,
  key: string,
  name: string,
  pool: Target['pool'],
  hosts: readonly Address[],
): ContestantPlan {
  const target: Target = { pool, hosts, login, connections: CONNECTIONS };
  return { key, name, workload: workloadUrl(WORKLOADS[operation]), options: { target } };
}

/** What a pool pays so that reads on followers see what its process wrote. */
function withoutOwnWrites(ours: ContestantPlan): ContestantPlan {
  const { target } = ours.options as { readonly target: Target };
  const options = { target: { ...target, consistency: 'eventual' } };
  return { ...ours, key: 'eventual', name: 'Lockstep, eventual', options };
}

export const proxies: readonly Scenario[] = [
  throughProxies(ONE_SERVER, 'read'),
  throughProxies(ONE_SERVER, 'write'),
];

export const balancingProxies: readonly Scenario[] = [
  throughProxies(THREE_SERVERS, 'read'),
  throughProxies(THREE_SERVERS, 'write'),
];

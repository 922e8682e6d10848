import { ETCD, EtcdCluster } from '../../test/integration/etcd-cluster.ts';
import { IndependentServers } from '../../test/integration/leaderless/servers.ts';
import type { SharedProcess } from '../contest.ts';

/** Both stores on this machine: three independent servers, and three members of etcd where it is installed. */
export class BothStores implements AsyncDisposable {
  readonly #servers: IndependentServers;
  readonly #etcd: EtcdCluster | null;
  /** URL of the member that leads; null without etcd. */
  readonly etcdLeader: string | null;

  private constructor(servers: IndependentServers, etcd: EtcdCluster | null, etcdLeader: string | null) {
    this.#servers = servers;
    this.#etcd = etcd;
    this.etcdLeader = etcdLeader;
  }

  static async start(postgres: string): Promise<BothStores> {
    await using starting = new AsyncDisposableStack();
    const servers = starting.use(await IndependentServers.start(3, postgres));
    const etcd = ETCD === null ? null : starting.use(await EtcdCluster.start({ members: 3 }));
    const leader = etcd === null ? null : (etcd.endpoints[await etcd.leader()] ?? null);
    starting.move();
    return new BothStores(servers, etcd, leader);
  }

  get urls(): readonly string[] {
    return this.#servers.servers.map(({ url }) => url);
  }

  get postgresVersion(): string {
    return this.#servers.version;
  }

  /** Every process of either store, so that each row can say what both used. */
  get processes(): readonly SharedProcess[] {
    return [
      ...this.#servers.servers.map(({ name, server }) => ({
        name: `PostgreSQL ${name}`,
        pid: server.pid ?? 0,
      })),
      ...(this.#etcd?.pids ?? []).map((pid, index) => ({ name: `etcd e${index + 1}`, pid })),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#etcd?.[Symbol.asyncDispose]();
    await this.#servers[Symbol.asyncDispose]();
  }
}

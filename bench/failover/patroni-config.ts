/** What Patroni's failover goes by. Source: Patroni documentation, "Dynamic Configuration Settings". */
export interface PatroniPace {
  readonly key: 'defaults' | 'fastest';
  readonly name: string;
  /** Seconds, as Patroni counts them. */
  readonly ttl: number;
  readonly loopWait: number;
  readonly retryTimeout: number;
}

export const PATRONI_DEFAULTS: PatroniPace = {
  key: 'defaults',
  name: 'Patroni, defaults',
  ttl: 30,
  loopWait: 10,
  retryTimeout: 10,
};

/** Patroni accepts nothing shorter. */
export const PATRONI_FASTEST: PatroniPace = {
  key: 'fastest',
  name: 'Patroni, fastest',
  ttl: 20,
  loopWait: 1,
  retryTimeout: 3,
};

export interface PatroniNodePlan {
  readonly name: string;
  readonly folder: string;
  readonly port: number;
  readonly restPort: number;
  readonly etcdPort: number;
  readonly binDir: string;
  readonly password: string;
  readonly pace: PatroniPace;
}

/** The file of one node: JSON, which is YAML, too. */
export function renderPatroniConfig(plan: PatroniNodePlan): string {
  const { name, folder, port, restPort, etcdPort, binDir, password, pace } = plan;
  const rest = `127.0.0.1:${restPort}`;
  const server = `127.0.0.1:${port}`;
  return JSON.stringify({
    scope: 'bench',
    name,
    restapi: { listen: rest, connect_address: rest },
    etcd3: { hosts: `127.0.0.1:${etcdPort}` },
    bootstrap: {
      dcs: {
        ttl: pace.ttl,
        loop_wait: pace.loopWait,
        retry_timeout: pace.retryTimeout,
        postgresql: { use_pg_rewind: true },
      },
      initdb: [{ encoding: 'UTF8' }, 'data-checksums'],
      pg_hba: [
        'host all all 127.0.0.1/32 scram-sha-256',
        'host replication replicator 127.0.0.1/32 scram-sha-256',
      ],
    },
    postgresql: {
      listen: server,
      connect_address: server,
      data_dir: `${folder}/data`,
      bin_dir: binDir,
      pgpass: `${folder}/pgpass`,
      authentication: {
        superuser: { username: 'postgres', password },
        replication: { username: 'replicator', password },
      },
      parameters: { unix_socket_directories: '', password_encryption: 'scram-sha-256' },
    },
  });
}

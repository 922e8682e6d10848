import { join } from 'node:path';
import { HAPROXY, PGBOUNCER, PGPOOL } from '../../peers/programs.ts';
import type { ProxyKind, ProxySetup } from './proxy.ts';

function leaderOf({ backends }: ProxySetup): ProxySetup['backends'][number] {
  const [leader] = backends;
  if (leader === undefined) throw new Error('A proxy needs a server behind it.');
  return leader;
}

/** Transaction pooling, as many server connections as the clients have; no password is asked at the front. */
export const pgbouncer: ProxyKind = {
  program: PGBOUNCER,
  files: (setup) => {
    const { user, password, database } = setup.login;
    const { host, port } = leaderOf(setup);
    const settings = [
      '[databases]',
      `${database} = host=${host} port=${port} dbname=${database}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${setup.port}`,
      'unix_socket_dir =',
      'auth_type = trust',
      `auth_file = ${join(setup.folder, 'userlist.txt')}`,
      'pool_mode = transaction',
      `default_pool_size = ${setup.connections}`,
      'max_client_conn = 200',
    ];
    return {
      'pgbouncer.ini': `${settings.join('\n')}\n`,
      'userlist.txt': `"${user}" "${password}"\n`,
    };
  },
  args: (folder) => [join(folder, 'pgbouncer.ini')],
};

/** Passes bytes on to the leader. */
export const haproxy: ProxyKind = {
  program: HAPROXY,
  files: (setup) => {
    const { host, port } = leaderOf(setup);
    const settings = [
      'global',
      '  maxconn 200',
      'defaults',
      '  mode tcp',
      '  timeout connect 5s',
      '  timeout client 10m',
      '  timeout server 10m',
      'listen postgres',
      `  bind 127.0.0.1:${setup.port}`,
      `  server leader ${host}:${port}`,
    ];
    return { 'haproxy.cfg': `${settings.join('\n')}\n` };
  },
  args: (folder) => ['-db', '-f', join(folder, 'haproxy.cfg')],
};

/** One server connection for each client's; with load balancing, reads go to all servers. */
export function pgpool(isBalancing: boolean): ProxyKind {
  return {
    program: PGPOOL,
    files: (setup) => {
      const { user, password } = setup.login;
      const backends = setup.backends.flatMap(({ host, port }, index) => [
        `backend_hostname${index} = '${host}'`,
        `backend_port${index} = ${port}`,
        `backend_weight${index} = 1`,
        `backend_flag${index} = '${index === 0 ? 'ALWAYS_PRIMARY|' : ''}DISALLOW_TO_FAILOVER'`,
      ]);
      const settings = [
        "backend_clustering_mode = 'streaming_replication'",
        "listen_addresses = '127.0.0.1'",
        `port = ${setup.port}`,
        `socket_dir = '${setup.folder}'`,
        "pcp_listen_addresses = ''",
        `pcp_socket_dir = '${setup.folder}'`,
        `pid_file_name = '${join(setup.folder, 'pgpool.pid')}'`,
        `logdir = '${setup.folder}'`,
        ...backends,
        'enable_pool_hba = off',
        "pool_passwd = 'pool_passwd'",
        `num_init_children = ${setup.connections + 4}`,
        'max_pool = 1',
        `load_balance_mode = ${isBalancing ? 'on' : 'off'}`,
        'sr_check_period = 0',
        'health_check_period = 0',
      ];
      return {
        'pgpool.conf': `${settings.join('\n')}\n`,
        'pcp.conf': '',
        'pool_hba.conf': '',
        pool_passwd: `${user}:TEXT${password}\n`,
      };
    },
    args: (folder) => [
      '-n',
      '-f',
      join(folder, 'pgpool.conf'),
      '-F',
      join(folder, 'pcp.conf'),
      '-a',
      join(folder, 'pool_hba.conf'),
    ],
  };
}

import type { ServerAddress } from '../../postgres/replication-connection.ts';
import { REPLICATION_USER, SUPERUSER } from '../../postgres/settings.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';

/** Another node's PostgreSQL, for a connection that receives its log. */
export function replicationAt({ secrets }: ClusterConfig, { host, port }: NodeConfig): ServerAddress {
  return { host, port, user: REPLICATION_USER, password: secrets.replication };
}

/** Another node's PostgreSQL, for a connection that may do everything. */
export function superuserAt({ secrets }: ClusterConfig, { host, port }: NodeConfig): ServerAddress {
  return { host, port, user: SUPERUSER, password: secrets.superuser };
}

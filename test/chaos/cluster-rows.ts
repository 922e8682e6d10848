import { Client } from 'pg';
import { TABLE } from './cluster-load.ts';
import type { NodeRows } from './core/cluster-history.ts';
import type { HostCluster } from './hosts/cluster.ts';

const CONVERGE_PATIENCE_MS = 30_000;

/** Every node's rows of a round, and a digest of all rounds before. */
export interface ClusterRows {
  readonly rows: readonly NodeRows[];
  /** By node; all are equal unless earlier rows were lost or differ. */
  readonly earlier: readonly { readonly node: string; readonly digest: string }[];
}

/**
 * Reads each node directly once it has replayed all that the leader had written. Nobody writes meanwhile.
 * When a server restarts after the fault, or another one leads, though the cluster looked whole, all are asked again. Throws when a
 * follower does not get there.
 */
export async function readRows(cluster: HostCluster, round: number): Promise<ClusterRows> {
  const deadlineMs = performance.now() + CONVERGE_PATIENCE_MS;
  for (;;) {
    try {
      const { leader } = await cluster.status();
      return await readOnce(cluster, leader ?? '', round);
    } catch (error) {
      if ((error as Error).name === 'AbortError' || performance.now() > deadlineMs) throw error;
      await cluster.pause(500);
    }
  }
}

async function readOnce(cluster: HostCluster, leader: string, round: number): Promise<ClusterRows> {
  const names = cluster.hosts.map((host) => host.name);
  const clients = new Map<string, Client>();
  try {
    for (const name of names) {
      const client = new Client({
        connectionString: cluster.dsn(name),
        connectionTimeoutMillis: 5_000,
        query_timeout: CONVERGE_PATIENCE_MS,
      });
      client.on('error', () => undefined);
      clients.set(name, client);
      await client.connect();
    }
    const lead = clients.get(leader);
    if (lead === undefined) throw new Error(`There is no node ${leader}.`);
    const { rows: position } = await lead.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
    const rows: NodeRows[] = [];
    const earlier: { node: string; digest: string }[] = [];
    for (const [node, client] of clients) {
      if (node !== leader) await untilReplayed(cluster, node, client, position[0]?.lsn ?? '');
      const own = await client.query<{ id: string }>(`SELECT id FROM ${TABLE} WHERE round = $1`, [round]);
      rows.push({ node, ids: new Set(own.rows.map(({ id }) => id)) });
      const all = await client.query<{ digest: string }>(
        `SELECT count(*) || ' rows, ' || coalesce(sum(hashtext(id)::bigint), 0) AS digest FROM ${TABLE} WHERE round < $1`,
        [round],
      );
      earlier.push({ node, digest: all.rows[0]?.digest ?? '' });
    }
    return { rows, earlier };
  } finally {
    await Promise.all([...clients.values()].map((client) => client.end().catch(() => undefined)));
  }
}

async function untilReplayed(cluster: HostCluster, node: string, client: Client, lsn: string): Promise<void> {
  const deadlineMs = performance.now() + CONVERGE_PATIENCE_MS;
  for (;;) {
    const { rows } = await client.query<{ is_there: boolean; at: string }>(
      'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS is_there, pg_last_wal_replay_lsn() AS at',
      [lsn],
    );
    if (rows[0]?.is_there === true) return;
    if (performance.now() > deadlineMs)
      throw new Error(`${node} has replayed only ${rows[0]?.at}, not ${lsn}, though everything is healed.`);
    await cluster.pause(30);
  }
}

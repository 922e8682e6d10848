import pg from 'pg';
import type { ClientConfig } from 'pg';
import { parseLsn } from '../model/lsn.ts';
import { codeOf } from './core/retry.ts';
import type { Probe } from './core/topology.ts';

/** One round trip for all there is to know. A server in recovery refuses pg_walfile_name, hence the CASE. */
const probeSql = (checkpointTimeline: string): string => `SELECT r AS in_recovery,
  CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn,
  CASE WHEN r THEN pg_last_wal_receive_lsn() END AS received,
  CASE WHEN r THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS writing_timeline,
  (SELECT received_tli FROM pg_stat_wal_receiver) AS received_timeline,
  ${checkpointTimeline} AS checkpoint_timeline,
  current_setting('lockstep.agent_url', true) AS agent_url
  FROM pg_is_in_recovery() AS r`;

const FULL_PROBE_SQL = probeSql('(SELECT timeline_id FROM pg_control_checkpoint())');

/** For services that allow ordinary roles no look at the control file. */
const PLAIN_PROBE_SQL = probeSql('NULL::int4');

const INSUFFICIENT_PRIVILEGE = '42501';

interface ProbeRow {
  readonly in_recovery: boolean;
  readonly lsn: string | null;
  readonly received: string | null;
  readonly writing_timeline: string | null;
  readonly received_timeline: number | null;
  readonly checkpoint_timeline: number | null;
  readonly agent_url: string | null;
}

export interface ProbeAnswer {
  readonly probe: Probe;
  /** Monotonic time at which the question was sent. */
  readonly sentAtMs: number;
  readonly agentUrl: string | null;
  /** Whether the server was silent rather than gone. */
  readonly isTimeout: boolean;
  /** What pg threw, when the server is down. */
  readonly error: Error | null;
}

/** A server that does not answer for this long counts as down. */
const PROBE_TIMEOUT_MS = 2000;

/** Asks one server over a connection of its own, which does not keep the process alive. */
export class NodeProbe {
  readonly #config: ClientConfig;
  #client: pg.Client | null = null;
  #sql: string = FULL_PROBE_SQL;

  constructor(config: ClientConfig) {
    this.#config = { ...config, connectionTimeoutMillis: PROBE_TIMEOUT_MS, query_timeout: PROBE_TIMEOUT_MS };
  }

  /** Never throws: a server that cannot be asked is `down`, with the reason. */
  async probe(): Promise<ProbeAnswer> {
    let sentAtMs = performance.now();
    try {
      const client = await this.#connected();
      sentAtMs = performance.now();
      const { rows } = await client.query<ProbeRow>(this.#sql);
      const row = rows[0];
      if (row === undefined) throw new Error('The server answered the probe with no row.');
      return {
        probe: readProbe(row),
        sentAtMs,
        agentUrl: row.agent_url || null,
        isTimeout: false,
        error: null,
      };
    } catch (error) {
      this.close();
      if (codeOf(error) === INSUFFICIENT_PRIVILEGE) this.#sql = PLAIN_PROBE_SQL;
      const cause = error instanceof Error ? error : new Error(String(error));
      const isTimeout = performance.now() - sentAtMs >= PROBE_TIMEOUT_MS * 0.9;
      return {
        probe: { kind: 'down', reason: cause.message },
        sentAtMs,
        agentUrl: null,
        isTimeout,
        error: cause,
      };
    }
  }

  /** What the server process `pid` waits for; null when it does not wait, or cannot be asked. */
  async waitEventOf(pid: number): Promise<string | null> {
    try {
      const client = await this.#connected();
      const { rows } = await client.query<{ wait_event: string | null }>(
        'SELECT wait_event FROM pg_stat_activity WHERE pid = $1',
        [pid],
      );
      return rows[0]?.wait_event ?? null;
    } catch {
      return null;
    }
  }

  /** Calls `listener` as soon as the probe's connection ends, long before the next probe is due. */
  onLost: () => void = () => undefined;

  close(): void {
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    client.end().catch(() => undefined);
    client.connection.stream.destroy();
  }

  async #connected(): Promise<pg.Client> {
    if (this.#client !== null) return this.#client;
    const client = new pg.Client(this.#config);
    client.on('error', () => undefined);
    client.on('end', () => {
      if (this.#client !== client) return;
      this.#client = null;
      this.onLost();
    });
    await client.connect();
    (client as unknown as { unref(): void }).unref();
    this.#client = client;
    return client;
  }
}

function readProbe(row: ProbeRow): Probe {
  const proven = [
    row.writing_timeline === null ? 0 : Number.parseInt(row.writing_timeline, 16),
    row.received_timeline ?? 0,
    row.checkpoint_timeline ?? 0,
  ];
  const timeline = Math.max(...proven);
  return {
    kind: 'up',
    isInRecovery: row.in_recovery,
    timeline: timeline === 0 ? null : timeline,
    lsn: row.lsn === null ? null : parseLsn(row.lsn),
    receivedLsn: row.received === null ? null : parseLsn(row.received),
  };
}

import pg from 'pg';
import type { Clock } from '../../model/clock.ts';
import { parseLsn } from '../../model/lsn.ts';
import { codeOf } from '../../model/errors.ts';
import type { Probe } from './core/leadership.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';
import type { GuardedClientConfig } from '../../wire/guarded-client.ts';
import { Sequence } from '../../model/sequence.ts';

/**
 * What is asked besides whether the server is in recovery (`r`). Each part may be refused or unknown on some
 * service, and is then left out. Names are qualified, since the app's search path is not ours; a server
 * checks the right to a function also in a branch that is not taken, so that none has two.
 */
const PARTS = {
  replayed: 'CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() END',
  flushed: 'CASE WHEN NOT r THEN pg_catalog.pg_current_wal_flush_lsn() END',
  received: 'CASE WHEN r THEN pg_catalog.pg_last_wal_receive_lsn() END',
  writing_timeline: `CASE WHEN NOT r THEN
    pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END`,
  received_timeline: '(SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)',
  checkpoint_timeline: '(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())',
  system_identifier: '(SELECT system_identifier::text FROM pg_catalog.pg_control_system())',
  started_at: 'extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text',
  server_address: 'pg_catalog.host(pg_catalog.inet_server_addr())',
  server_port: 'pg_catalog.inet_server_port()',
  agent_url: `pg_catalog.current_setting('lockstep.agent_url', true)`,
  agent_key: `pg_catalog.current_setting('lockstep.agent_key', true)`,
  is_handing_over: `pg_catalog.current_setting('lockstep.is_handing_over', true) = 'on'`,
} as const;

/**
 * Some services' replicas do not count as in recovery, but refuse every write all the same; a role or
 * database that only reads by default says nothing about its server.
 */
const IN_RECOVERY = `(pg_catalog.pg_is_in_recovery()
  OR pg_catalog.current_setting('transaction_read_only')::bool
  AND NOT pg_catalog.current_setting('default_transaction_read_only')::bool)`;

type PartName = keyof typeof PARTS;

const PART_NAMES = Object.keys(PARTS) as PartName[];

interface ProbeRow {
  readonly in_recovery: boolean;
  readonly replayed: string | null;
  readonly flushed: string | null;
  readonly received: string | null;
  readonly writing_timeline: string | null;
  readonly received_timeline: number | null;
  readonly checkpoint_timeline: number | null;
  readonly system_identifier: string | null;
  readonly started_at: string | null;
  readonly server_address: string | null;
  readonly server_port: number | null;
  readonly agent_url: string | null;
  readonly agent_key: string | null;
  readonly is_handing_over: boolean | null;
}

export interface ProbeAnswer {
  readonly probe: Probe;
  /** When the question was sent. */
  readonly sentAtMs: number;
  readonly agentUrl: string | null;
  /** What the agent signs its news with: see news/signature.ts. */
  readonly agentKey: string | null;
  /** The address and port at which the server itself sees the connection; null when it does not say. */
  readonly servedAt: string | null;
  /** Whether the server was silent rather than gone. */
  readonly isTimeout: boolean;
  /** What pg threw, when the server is down. */
  readonly error: Error | null;
}

/** A server that does not answer for this long counts as down. */
const PROBE_TIMEOUT_MS = 2000;

/** An answer of a few hundred bytes is expected. */
const MAX_PROBE_MESSAGE_BYTES = 64 * 1024;

/** Asks one server over a connection of its own, which does not keep the process alive. */
export class NodeProbe {
  readonly #config: GuardedClientConfig;
  readonly #clock: Clock;
  readonly #refused = new Set<PartName>();
  #client: pg.Client | null = null;
  /** A server that swallows packets must not keep a process alive that has ended its pool. */
  readonly #connecting: Set<pg.Client> = new Set();
  /** pg's client will take one query at a time. */
  readonly #questions: Sequence = new Sequence();
  #connectedSinceMs = Number.POSITIVE_INFINITY;
  #wasInRecovery: boolean | null = null;

  constructor(config: GuardedClientConfig, clock: Clock) {
    this.#clock = clock;
    this.#config = {
      ...config,
      connectionTimeoutMillis: PROBE_TIMEOUT_MS,
      query_timeout: PROBE_TIMEOUT_MS,
      maxMessageBytes: MAX_PROBE_MESSAGE_BYTES,
    };
  }

  /** Never throws: a server that cannot be asked is `down`, with the reason. */
  async probe(): Promise<ProbeAnswer> {
    let sentAtMs = this.#clock.nowMs();
    try {
      const client = await this.#connected();
      sentAtMs = this.#clock.nowMs();
      const row = await this.#ask(client);
      // Another role means other functions that answer.
      if (row.in_recovery !== this.#wasInRecovery) this.#refused.clear();
      this.#wasInRecovery = row.in_recovery;
      return {
        probe: readProbe(row),
        sentAtMs,
        agentUrl: row.agent_url || null,
        agentKey: row.agent_key || null,
        servedAt: row.server_address === null ? null : `${row.server_address}:${row.server_port}`,
        isTimeout: false,
        error: null,
      };
    } catch (error) {
      this.close();
      const cause = error instanceof Error ? error : new Error(String(error));
      const isTimeout = this.#clock.nowMs() - sentAtMs >= PROBE_TIMEOUT_MS * 0.9;
      return {
        probe: { kind: 'down', reason: cause.message },
        sentAtMs,
        agentUrl: null,
        agentKey: null,
        servedAt: null,
        isTimeout,
        error: cause,
      };
    }
  }

  /** What the server process `pid` waits for; null when it does not wait, or cannot be asked. */
  async waitEventOf(pid: number): Promise<string | null> {
    try {
      const client = await this.#connected();
      const { rows } = await this.#questions.run(() =>
        client.query<{ wait_event: string | null }>(
          'SELECT wait_event FROM pg_stat_activity WHERE pid = $1',
          [pid],
        ),
      );
      return rows[0]?.wait_event ?? null;
    } catch {
      return null;
    }
  }

  /** Calls `listener` as soon as the probe's connection ends, long before the next probe is due. */
  onLost: () => void = () => undefined;

  close(): void {
    for (const connecting of this.#connecting) connecting.connection.stream.destroy();
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    client.end().catch(() => undefined);
    client.connection.stream.destroy();
  }

  async #ask(client: pg.Client): Promise<ProbeRow> {
    try {
      return await this.#askOnce(client);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await this.#findRefused(client);
      return this.#askOnce(client);
    }
  }

  async #askOnce(client: pg.Client): Promise<ProbeRow> {
    const sql = probeSql(this.#refused);
    const { rows } = await this.#questions.run(() => client.query<ProbeRow>(sql));
    const row = rows[0];
    if (typeof row?.in_recovery !== 'boolean') throw new Error('The server did not answer the probe.');
    return row;
  }

  async #findRefused(client: pg.Client): Promise<void> {
    for (const name of PART_NAMES) {
      if (this.#refused.has(name)) continue;
      try {
        const sql = probeSql(new Set(PART_NAMES.filter((other) => other !== name)));
        await this.#questions.run(() => client.query(sql));
      } catch (error) {
        if (!isRefusal(error)) throw error;
        this.#refused.add(name);
      }
    }
  }

  /** Since when one connection has stood, and so one server has run; infinite while there is none. */
  get connectedSinceMs(): number {
    return this.#client === null ? Number.POSITIVE_INFINITY : this.#connectedSinceMs;
  }

  async #connected(): Promise<pg.Client> {
    if (this.#client !== null) return this.#client;
    const client = new GuardedClient(this.#config);
    client.on('error', () => undefined);
    client.on('end', () => {
      if (this.#client !== client) return;
      this.#client = null;
      this.onLost();
    });
    this.#connecting.add(client);
    try {
      await client.connect();
    } catch (error) {
      client.connection.stream.destroy();
      throw error;
    } finally {
      this.#connecting.delete(client);
    }
    (client as unknown as { unref(): void }).unref();
    this.#client = client;
    this.#connectedSinceMs = this.#clock.nowMs();
    this.#refused.clear();
    return client;
  }
}

/** One round trip for all there is to know. */
function probeSql(refused: ReadonlySet<PartName>): string {
  const parts = PART_NAMES.map((name) => `${refused.has(name) ? 'NULL' : PARTS[name]} AS ${name}`);
  return `SELECT r AS in_recovery, ${parts.join(', ')} FROM (SELECT ${IN_RECOVERY} AS r OFFSET 0) AS server`;
}

/** An error of the statement, upon which the server goes on, rather than of the server or the connection. */
function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return error instanceof pg.DatabaseError && !/^(?:57|08|53)/.test(code) && code !== '';
}

function readProbe(row: ProbeRow): Probe {
  const proven = [
    row.writing_timeline === null ? 0 : Number.parseInt(row.writing_timeline, 16),
    row.received_timeline ?? 0,
    row.checkpoint_timeline ?? 0,
  ];
  const timeline = Math.max(...proven);
  const lsn = row.in_recovery ? row.replayed : row.flushed;
  return {
    kind: 'up',
    isInRecovery: row.in_recovery,
    server: row.started_at === null ? null : `${row.system_identifier ?? ''}/${row.started_at}`,
    timeline: timeline === 0 ? null : timeline,
    lsn: lsn === null ? null : parseLsn(lsn),
    receivedLsn: row.received === null ? null : parseLsn(row.received),
    isHandingOver: row.is_handing_over === true,
  };
}

import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type { QueryResult } from 'pg';
import { connect, LockstepError } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { LOCKSTEP_CLIENT } from './core/cluster-history.ts';
import type { ClusterWrite, Level, Told } from './core/cluster-history.ts';

/** Where writes go. Names of nodes are by address, which is how an acknowledgement tells them. */
export interface LoadTarget {
  readonly url: string;
  readonly nodes: readonly { readonly name: string; readonly address: string; readonly dsn: string }[];
}

const LEVELS: readonly Level[] = ['async', 'sync', 'visible'];
/** Callers through Lockstep's client, for each level. */
const CALLERS = 2;
/** Callers think for up to this long, so that nodes that come back find room to catch up. */
const PAUSE_MS = 25;
/** A refusing or unreachable node is asked again after this. */
const RETRY_MS = 40;
/** A direct client gives a silent server up after this; its write is unknown then. */
const DIRECT_PATIENCE_MS = 10_000;
const CONNECT_PATIENCE_MS = 1_500;

const SETTINGS: Readonly<Record<Level, string>> = { async: 'local', sync: 'on', visible: 'remote_apply' };

export const TABLE: string = 'chaos_write';
export const CREATE_TABLE: string = `CREATE TABLE ${TABLE} (id text PRIMARY KEY, round int NOT NULL)`;

/** Of a leader: `pg_walfile_name` begins with the timeline. */
const RETURNING = `host(inet_server_addr()) AS address,
  ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline`;

interface Answer {
  readonly address: string;
  readonly timeline: number;
}

/** Milliseconds on the clock that PostgreSQL stamps with, too: all hosts are namespaces of one machine. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Clients that write unique ids, at every level, to each node directly and through Lockstep's client. */
export class ClusterLoad implements AsyncDisposable {
  readonly #pool: LockstepPool;
  readonly #names: ReadonlyMap<string, string>;
  readonly #callers: Promise<void>[];
  readonly #gate = new Gate();
  readonly #directs: DirectWriter[];
  #writes: ClusterWrite[] = [];
  #pending = new Map<string, number>();
  #round = 0;
  #nextId = 0;
  readonly #random: () => number;

  constructor(target: LoadTarget, random: () => number) {
    this.#random = random;
    this.#pool = connect({ connectionString: target.url, failoverTimeoutMs: 30_000 });
    this.#pool.on('error', () => undefined);
    this.#names = new Map(target.nodes.map(({ address, name }) => [address, name]));
    this.#directs = target.nodes.flatMap((node) =>
      LEVELS.map((level) => new DirectWriter(node.name, node.dsn, level)),
    );
    this.#callers = [
      ...LEVELS.flatMap((level) => Array.from({ length: CALLERS }, () => this.#callPool(level))),
      ...this.#directs.map((direct) => this.#callDirect(direct)),
    ];
  }

  /** Of this round so far. */
  get writes(): readonly ClusterWrite[] {
    return this.#writes;
  }

  /** Forgets the writes so far; new ids carry the round's number. */
  beginRound(round: number): void {
    this.#round = round;
    this.#writes = [];
    this.#gate.open();
  }

  /**
   * Lets every write end and starts no other. Returns those that did not end in time, by client: no call may
   * hang when everything is healed.
   */
  async rest(patienceMs: number): Promise<string[]> {
    this.#gate.close();
    const deadlineMs = performance.now() + patienceMs;
    while (this.#pending.size > 0 && performance.now() < deadlineMs) await delay(20);
    return [...this.#pending].map(([id, sinceMs]) => `${id}, for ${Math.round(nowMs() - sinceMs)} ms`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gate.end();
    for (const direct of this.#directs) direct.drop();
    // A pool waits for its calls, which may hang: that is what a run is to find out.
    await Promise.race([this.#pool.end().catch(() => undefined), delay(5_000, undefined, { ref: false })]);
    await Promise.race([Promise.all(this.#callers), delay(5_000, undefined, { ref: false })]);
  }

  async #callPool(level: Level): Promise<void> {
    while (await this.#gate.pass()) {
      const text = `INSERT INTO ${TABLE} (id, round) VALUES ($1, $2) RETURNING ${RETURNING}`;
      const told = await this.#note(LOCKSTEP_CLIENT, level, async (id) => {
        const values = [id, this.#round];
        const { rows } = await this.#pool.query<Answer>({ text, values, durability: level });
        return { answer: rows[0], committedAtMs: null };
      });
      await delay(told.kind === 'acknowledged' ? this.#random() * PAUSE_MS : RETRY_MS);
    }
  }

  async #callDirect(direct: DirectWriter): Promise<void> {
    while (await this.#gate.pass()) {
      if (!(await direct.isConnected())) {
        await delay(RETRY_MS);
        continue;
      }
      const told = await this.#note(`direct ${direct.node}`, direct.level, (id) =>
        direct.write(id, this.#round),
      );
      if (told.kind === 'unknown') direct.drop();
      await delay(told.kind === 'acknowledged' ? this.#random() * PAUSE_MS : RETRY_MS);
    }
  }

  async #note(
    client: string,
    level: Level,
    write: (id: string) => Promise<{ answer: Answer | undefined; committedAtMs: number | null }>,
  ): Promise<Told> {
    this.#nextId += 1;
    const id = `${this.#round}.${client.replace(' ', '-')}.${level}.${this.#nextId}`;
    const calledAtMs = nowMs();
    this.#pending.set(id, calledAtMs);
    let told: Told;
    try {
      const { answer, committedAtMs } = await write(id);
      if (answer === undefined) throw new Error('The write returned no row.');
      const node = this.#names.get(answer.address) ?? answer.address;
      told = { kind: 'acknowledged', node, timeline: answer.timeline, committedAtMs };
    } catch (error) {
      told = judgeFailure(error);
    }
    this.#pending.delete(id);
    this.#writes.push({ id, client, level, calledAtMs, endedAtMs: nowMs(), told });
    return told;
  }
}

/** A plain connection to one node, held open for as long as it lives. */
class DirectWriter {
  readonly node: string;
  readonly level: Level;
  readonly #dsn: string;
  #client: Client | null = null;
  #isWaitCancelled = false;

  constructor(node: string, dsn: string, level: Level) {
    this.node = node;
    this.#dsn = dsn;
    this.level = level;
  }

  /** Connects when it is not. */
  async isConnected(): Promise<boolean> {
    if (this.#client !== null) return true;
    const client = new Client({
      connectionString: this.#dsn,
      connectionTimeoutMillis: CONNECT_PATIENCE_MS,
      query_timeout: DIRECT_PATIENCE_MS,
      options: `-c synchronous_commit=${SETTINGS[this.level]}`,
    });
    client.on('error', () => this.drop(client));
    client.on('end', () => this.drop(client));
    client.on('notice', ({ message }) => {
      if (message?.startsWith('canceling') === true) this.#isWaitCancelled = true;
    });
    try {
      await client.connect();
      this.#client = client;
      return true;
    } catch {
      destroy(client);
      return false;
    }
  }

  /**
   * The server's clock is read behind COMMIT in the same message, so it tells the moment of the acknowledgement
   * itself, whenever the network or this process comes round to it.
   */
  async write(id: string, round: number): Promise<{ answer: Answer | undefined; committedAtMs: number }> {
    if (this.#client === null) throw new Error('It is not connected.');
    this.#isWaitCancelled = false;
    const client = this.#client;
    const results = await client
      .query(
        `BEGIN; INSERT INTO ${TABLE} (id, round) VALUES ('${id}', ${round}) RETURNING ${RETURNING}; COMMIT;
         SELECT extract(epoch FROM clock_timestamp()) * 1000 AS at`,
      )
      .then(
        (answers) => answers as unknown as readonly QueryResult[],
        async (error: unknown) => {
          // The block that failed is still open.
          if (isSureFailure(error)) await client.query('ROLLBACK').catch(() => this.drop(client));
          throw error;
        },
      );
    if (this.#isWaitCancelled) throw new Error('The wait for a follower was cancelled.');
    const stamp = results.at(-1)?.rows[0] as { at: string } | undefined;
    return { answer: results[1]?.rows[0] as Answer | undefined, committedAtMs: Number(stamp?.at) };
  }

  drop(client: Client | null = this.#client): void {
    if (client === null) return;
    if (client === this.#client) this.#client = null;
    destroy(client);
  }
}

/** Without the farewell, which a silent server would not take. */
function destroy(client: Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** A server's plain error means that nothing was applied; a lost connection or a closing server tells nothing. */
function judgeFailure(error: unknown): Told {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof LockstepError) {
    const kind = error.outcome === 'not-applied' ? 'refused' : 'unknown';
    return { kind, code: error.code, message };
  }
  const { code } = error as { code?: string };
  return { kind: isSureFailure(error) ? 'refused' : 'unknown', code: code ?? 'none', message };
}

function isSureFailure(error: unknown): boolean {
  const { code, severity } = error as { code?: string; severity?: string };
  return severity === 'ERROR' && code !== undefined && !code.startsWith('08');
}

/** Lets callers through while it is open. */
class Gate {
  #state: 'open' | 'closed' | 'ended' = 'closed';
  #waiting: (() => void)[] = [];

  open(): void {
    this.#state = 'open';
    this.#release();
  }

  close(): void {
    this.#state = 'closed';
  }

  end(): void {
    this.#state = 'ended';
    this.#release();
  }

  /** Resolves with false when it is over. */
  async pass(): Promise<boolean> {
    while (this.#state === 'closed') await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#state === 'open';
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type { ClientConfig, QueryResult } from 'pg';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import type { Acknowledgement, Writer } from './acknowledgement.ts';
import { nowMs } from './cluster.ts';
import type { ClusterNode } from './cluster.ts';

/** What the plain client does, the same for every contestant: it tries each node in turn. */
const PLAIN_CONNECT_PATIENCE_MS = 200;
const PLAIN_WRITE_PATIENCE_MS = 500;
const RETRY_MS = 10;
/** Between two writes of one client: the machine is to be busy with the failover, not with the load. */
const THINK_MS = 4;
const DIRECT_PATIENCE_MS = 2_000;
/** Callers of Lockstep's pool, as an app has several. */
const POOL_CALLERS = 3;
const END_PATIENCE_MS = 3_000;

const CREATE_TABLE = 'CREATE TABLE failover_write (id int PRIMARY KEY)';
const INSERT = 'INSERT INTO failover_write (id) VALUES ($1)';

/**
 * Clients that write rows of ever new ids for as long as it lives: a plain one (synchronous), Lockstep's (synchronous,
 * for a cluster of ours), and one for each node that goes to that node alone (asynchronous).
 */
export class Load implements AsyncDisposable {
  readonly #nodes: readonly ClusterNode[];
  readonly #thinkMs: number;
  readonly #pool: LockstepPool | null;
  readonly #callers: Promise<void>[] = [];
  readonly #clients = new Set<Client>();
  #acknowledged: Acknowledgement[] = [];
  #nextId = 1;
  #firstId = 1;
  #isEnding = false;

  private constructor(nodes: readonly ClusterNode[], url: string | null, thinkMs: number) {
    this.#nodes = nodes;
    this.#thinkMs = thinkMs;
    this.#pool = url === null ? null : connect({ connectionString: url, failoverTimeoutMs: 60_000 });
    this.#pool?.on('error', () => undefined);
  }

  /** Makes its table on the leader and begins. `thinkMs` 0 is as much load as the clients can make. */
  static async start(
    nodes: readonly ClusterNode[],
    leader: string,
    url: string | null,
    thinkMs: number = THINK_MS,
  ): Promise<Load> {
    const load = new Load(nodes, url, thinkMs);
    try {
      await load.#ask(leader, CREATE_TABLE);
      load.#callers.push(load.#runPlain(), ...nodes.map((node) => load.#runDirect(node)));
      if (load.#pool !== null)
        for (let caller = 0; caller < POOL_CALLERS; caller += 1)
          load.#callers.push(load.#runPool(load.#pool));
      return load;
    } catch (error) {
      await load[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Since the last {@link forget}. */
  get acknowledged(): readonly Acknowledgement[] {
    return this.#acknowledged;
  }

  /** Those that write here. */
  get writers(): readonly Writer[] {
    return this.#pool === null ? ['plain', 'direct'] : ['plain', 'lockstep', 'direct'];
  }

  /** Begins a new list of acknowledgements. */
  forget(): void {
    this.#acknowledged = [];
    this.#firstId = this.#nextId;
  }

  /** The ids that the leader has, of all writes that began since the last {@link forget}; those in flight as well. */
  async findWritten(leader: string): Promise<ReadonlySet<number>> {
    const { rows } = await this.#ask(leader, `SELECT id FROM failover_write WHERE id >= ${this.#firstId}`);
    return new Set(rows.map((row: { id: number }) => row.id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    for (const client of this.#clients) destroy(client);
    const patience = (): Promise<void> => delay(END_PATIENCE_MS, undefined, { ref: false });
    if (this.#pool !== null) await Promise.race([this.#pool.end().catch(() => undefined), patience()]);
    await Promise.race([Promise.all(this.#callers), patience()]);
  }

  async #runPlain(): Promise<void> {
    for (let turn = 0; !this.#isEnding; turn += 1) {
      const node = this.#nodes[turn % this.#nodes.length] as ClusterNode;
      const client = this.#createClient(node, 'on', PLAIN_CONNECT_PATIENCE_MS, PLAIN_WRITE_PATIENCE_MS);
      try {
        await client.connect();
        for (;;) {
          await this.#note('plain', node.name, async (id) => void (await client.query(INSERT, [id])));
          await this.#think();
        }
      } catch {
        // The next node may do better.
      }
      this.#drop(client);
      await delay(RETRY_MS);
    }
  }

  async #runPool(pool: LockstepPool): Promise<void> {
    while (!this.#isEnding) {
      const write = (id: number): Promise<unknown> =>
        pool.query({ text: INSERT, values: [id], durability: 'sync' });
      await this.#note('lockstep', null, async (id) => void (await write(id))).catch(() => delay(RETRY_MS));
      await this.#think();
    }
  }

  /** Holds its connection for as long as the server does: a follower that becomes the leader writes at once. */
  async #runDirect(node: ClusterNode): Promise<void> {
    while (!this.#isEnding) {
      const client = this.#createClient(node, 'local', DIRECT_PATIENCE_MS, DIRECT_PATIENCE_MS);
      try {
        await client.connect();
        while (!this.#isEnding) {
          const isLeading = await this.#note('direct', node.name, (id) => writeAndStamp(client, id)).then(
            () => true,
            (error: unknown) => {
              if ((error as { code?: string }).code === READ_ONLY) return false;
              throw error;
            },
          );
          await (isLeading ? this.#think() : delay(RETRY_MS));
        }
      } catch {
        // It is down, or went down.
      }
      this.#drop(client);
      await delay(RETRY_MS);
    }
  }

  /** The write's promise gives the server's time of the commit, where it asks for it. */
  async #note(
    writer: Writer,
    node: string | null,
    write: (id: number) => Promise<number | void>,
  ): Promise<void> {
    const id = this.#nextId;
    this.#nextId += 1;
    const begunAtMs = nowMs();
    const committedAtMs = (await write(id)) ?? null;
    // It began before the present list did, which looks for newer ids only.
    if (id < this.#firstId) return;
    this.#acknowledged.push({ id, writer, node, begunAtMs, endedAtMs: nowMs(), committedAtMs });
  }

  async #think(): Promise<void> {
    if (this.#thinkMs > 0) await delay(this.#thinkMs);
  }

  #createClient(
    node: ClusterNode,
    synchronousCommit: 'on' | 'local',
    connectPatienceMs: number,
    writePatienceMs: number,
  ): Client {
    const config: ClientConfig = {
      ...node.address,
      connectionTimeoutMillis: connectPatienceMs,
      query_timeout: writePatienceMs,
      options: `-c synchronous_commit=${synchronousCommit}`,
    };
    const client = new Client(config);
    client.on('error', () => undefined);
    this.#clients.add(client);
    return client;
  }

  #drop(client: Client): void {
    this.#clients.delete(client);
    destroy(client);
  }

  async #ask(name: string, sql: string): Promise<QueryResult<{ id: number }>> {
    const node = this.#nodes.find((candidate) => candidate.name === name);
    if (node === undefined) throw new Error(`There is no node ${name}.`);
    const client = this.#createClient(node, 'on', 5_000, 60_000);
    try {
      await client.connect();
      return await client.query<{ id: number }>(sql);
    } finally {
      this.#drop(client);
    }
  }
}

/** PostgreSQL's code of a write on a follower: read_only_sql_transaction. */
const READ_ONLY = '25006';

/** The clock is read behind COMMIT in the same message, so that it tells the moment of the acknowledgement itself. */
async function writeAndStamp(client: Client, id: number): Promise<number> {
  const sql = `BEGIN; INSERT INTO failover_write (id) VALUES (${id}); COMMIT;
    SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS at`;
  try {
    const results = (await client.query(sql)) as unknown as readonly QueryResult<{ at: number }>[];
    const at = results.at(-1)?.rows[0]?.at;
    if (at === undefined) throw new Error('The server told no time.');
    return at;
  } catch (error) {
    if ((error as { code?: string }).code !== READ_ONLY) throw error;
    // The block that failed is still open.
    await client.query('ROLLBACK');
    throw error;
  }
}

/** Without the farewell, which a silent server would not take. */
function destroy(client: Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

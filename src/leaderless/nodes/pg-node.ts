import pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { createUrlClient } from '../../wire/url-client.ts';
import type { NodeIdentity } from '../core/membership.ts';
import type { Runtime } from '../runtime.ts';
import { inspectNode } from './identity.ts';
import { collectionOf, NodeFailure } from './requests.ts';
import type { CollectionName, NodeReply, NodeRequest, NodeTransport } from './requests.ts';
import { statementOf } from './statement-of.ts';

export interface PgNodeOptions {
  readonly name: string;
  readonly url: string;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** How long a statement may take before its connection is given up. */
  readonly statementTimeoutMs: number;
  readonly maxClockAheadMs: number;
  /** Looks at the node behind each new connection; rejects when it must not be used. */
  readonly admit: (identity: NodeIdentity, client: pg.Client) => Promise<void>;
}

export type NodeState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'up' }
  /** `problem` in one sentence. */
  | { readonly kind: 'down'; readonly problem: string }
  /** It answers, and is not used: its data cannot be trusted, or it is another cluster's. */
  | { readonly kind: 'refused'; readonly problem: string };

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1_000;

/**
 * Whatever the statistics say, every statement goes by its key; what is acknowledged is on disk, whatever the role's
 * defaults are; no function or operator that somebody made in the database takes the place of PostgreSQL's, and
 * no role that somebody set for it that of who logs in.
 */
const SESSION = [
  'search_path=pg_catalog',
  'role=none',
  'synchronous_commit=on',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'plan_cache_mode=force_generic_plan',
  'jit=off',
  'idle_in_transaction_session_timeout=10s',
];

/** The node goes by other members, or its tables are gone: it is looked at anew. */
const LOOK_AGAIN: ReadonlySet<string> = new Set(['LS001', '3F000', '42P01', '42883']);

const NO_MISMATCHES: ReadonlyMap<NodeRequest, NodeFailure> = new Map();
const INT8 = 20;
const parserOf = pg.types.getTypeParser as (oid: number, format?: 'text' | 'binary') => unknown;

/** bigint as number: all of ours stay below 2^53. */
const TYPES = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => (oid === INT8 ? Number : parserOf(oid, format)),
} as pg.CustomTypesConfig;

/** The connections to one node. Made again as they break; a statement that hangs gives up its connection. */
export class PgNode implements NodeTransport {
  readonly #options: PgNodeOptions;
  readonly #runtime: Runtime;
  readonly #idle: pg.Client[] = [];
  readonly #all = new Set<pg.Client>();
  /** Collections whose kind this node has confirmed. */
  readonly #opened = new Map<string, string>();
  #state: NodeState = { kind: 'connecting' };
  #epoch = 0;
  #retryMs = FIRST_RETRY_MS;
  #cancelRetry: () => void = () => undefined;
  #isRetrying = false;
  #isClosed = false;
  onChange: () => void = () => undefined;

  constructor(options: PgNodeOptions, runtime: Runtime) {
    this.#options = options;
    this.#runtime = runtime;
  }

  get state(): NodeState {
    return this.#state;
  }

  get idle(): number {
    return this.#idle.length;
  }

  get isUp(): boolean {
    return this.#state.kind === 'up';
  }

  /** Statements go by this membership from now on. */
  useEpoch(epoch: number): void {
    this.#epoch = epoch;
  }

  /** Opens what is missing of its connections; resolves when that succeeded or failed once. */
  async connect(): Promise<void> {
    const missing = this.#options.connections - this.#all.size;
    try {
      await Promise.all(Array.from({ length: missing }, () => this.#open()));
      this.#retryMs = FIRST_RETRY_MS;
    } catch (error) {
      if (this.#isClosed) return;
      const problem = (error as Error).message;
      const isRefusal = error instanceof LockstepError;
      if (isRefusal) for (const client of this.#all) this.#drop(client);
      if (isRefusal || this.#all.size === 0) this.#enter({ kind: isRefusal ? 'refused' : 'down', problem });
      this.#retryLater();
    }
  }

  async send(requests: readonly NodeRequest[]): Promise<readonly (NodeReply | NodeFailure)[]> {
    const client = this.#idle.pop();
    if (client === undefined)
      throw new NodeFailure(`${this.#options.name} has no connection`, { wasSent: false });
    let wasSent = false;
    const cancel = this.#runtime.after(this.#options.statementTimeoutMs, () => {
      this.#fail(client, `it did not answer within ${this.#options.statementTimeoutMs} ms`);
    });
    try {
      const mismatches = await this.#openCollections(client, requests);
      const allowed =
        mismatches.size === 0 ? requests : requests.filter((request) => !mismatches.has(request));
      if (allowed.length === 0) return requests.map((request) => mismatches.get(request) as NodeFailure);
      const statement = statementOf(allowed, this.#epoch, this.#options.maxClockAheadMs);
      wasSent = true;
      const { rows } = await client.query({
        name: statement.name,
        text: statement.text,
        values: statement.values as unknown[],
        rowMode: 'array',
      });
      const replies = statement.decode(rows as unknown[][]);
      if (mismatches.size === 0) return replies;
      let next = 0;
      return requests.map((request) => mismatches.get(request) ?? (replies[next++] as NodeReply));
    } catch (error) {
      throw this.#explain(client, error as Error & { code?: string }, wasSent);
    } finally {
      cancel();
      if (this.#all.has(client)) this.#idle.push(client);
    }
  }

  /** Any statement of the library's own on a connection of its own. */
  async withConnection<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = this.#createClient();
    try {
      await client.connect();
      return await work(client);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry();
    const clients = [...this.#all];
    this.#idle.length = 0;
    this.#all.clear();
    this.#enter({ kind: 'down', problem: 'it was closed' });
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  }

  #createClient(): pg.Client {
    const { url, connectTimeoutMs } = this.#options;
    return createUrlClient({
      connectionString: url,
      connectionTimeoutMillis: connectTimeoutMs,
      application_name: 'lockstep leaderless',
      keepAlive: true,
      options: SESSION.map((setting) => `-c ${setting}`).join(' '),
      types: TYPES,
    });
  }

  async #open(): Promise<void> {
    const client = this.#createClient();
    const cancel = this.#runtime.after(this.#options.connectTimeoutMs * 2, () => destroy(client));
    try {
      await client.connect();
      await this.#options.admit(await inspectNode(client), client);
    } catch (error) {
      destroy(client);
      throw error;
    } finally {
      cancel();
    }
    if (this.#isClosed) {
      destroy(client);
      return;
    }
    client.once('end', () => this.#fail(client, 'the connection ended'));
    client.once('error', (error: Error) => this.#fail(client, error.message));
    this.#all.add(client);
    this.#idle.push(client);
    this.#enter({ kind: 'up' });
  }

  /** Whether this node has confirmed the kinds of all these collections. */
  #areOpened(requests: readonly NodeRequest[]): boolean {
    let last: CollectionName | null = null;
    for (const request of requests) {
      const collection = collectionOf(request);
      if (collection === null || collection === last) continue;
      if (this.#opened.get(collection.name) !== collection.kind) return false;
      last = collection;
    }
    return true;
  }

  /** Makes sure that this node knows the collections by the same kinds. */
  async #openCollections(
    client: pg.Client,
    requests: readonly NodeRequest[],
  ): Promise<ReadonlyMap<NodeRequest, NodeFailure>> {
    if (this.#areOpened(requests)) return NO_MISMATCHES;
    const unknown = new Map<string, string>();
    for (const request of requests) {
      const collection = collectionOf(request);
      if (collection !== null && !this.#opened.has(collection.name))
        unknown.set(collection.name, collection.kind);
    }
    if (unknown.size > 0) {
      const { rows } = await client.query<{ name: string; kind: string }>({
        name: 'lockstep_open',
        text: 'SELECT name, kind FROM lockstep_leaderless.open_collections($1, $2)',
        values: [[...unknown.keys()], [...unknown.values()]],
      });
      for (const { name, kind } of rows) this.#opened.set(name, kind);
    }
    const mismatches = new Map<NodeRequest, NodeFailure>();
    for (const request of requests) {
      const collection = collectionOf(request);
      if (collection === null) continue;
      const { name, kind } = collection;
      const known = this.#opened.get(name);
      if (known === kind) continue;
      const message = `the collection "${name}" is of kind "${known}", not "${kind}"`;
      mismatches.set(request, new NodeFailure(message, { wasSent: false, refusal: 'CONFIG_INVALID' }));
    }
    return mismatches;
  }

  /** Errors of the server leave the connection alone; others end it. */
  #explain(client: pg.Client, error: Error & { code?: string }, wasSent: boolean): NodeFailure {
    const { name } = this.#options;
    const isAnswer = error instanceof pg.DatabaseError;
    if (!isAnswer) {
      this.#fail(client, error.message);
      return new NodeFailure(`${name} failed: ${error.message}`, { wasSent, cause: error });
    }
    if (LOOK_AGAIN.has(error.code ?? '')) {
      // Whoever connects again learns which membership counts now.
      this.#fail(client, error.message);
      return new NodeFailure(`${name}: ${error.message}`, { wasSent: false, cause: error });
    }
    const isClock = error.code === 'LS002' || error.code === 'LS003';
    // A statement that ended in an error was rolled back; one whose server is going down may have been committed.
    const isShutdown = error.code?.startsWith('57P') === true;
    return new NodeFailure(`${name}: ${error.message}`, {
      wasSent: wasSent && isShutdown,
      refusal: isClock ? 'CLOCK_SKEW' : null,
      cause: error,
    });
  }

  #fail(client: pg.Client, problem: string): void {
    if (!this.#drop(client)) return;
    // One broken connection may be chance; when the last goes, or one hangs, the node is away.
    if (this.#all.size === 0) this.#enter({ kind: 'down', problem });
    this.#retryLater();
  }

  #drop(client: pg.Client): boolean {
    if (!this.#all.delete(client)) return false;
    const index = this.#idle.indexOf(client);
    if (index >= 0) this.#idle.splice(index, 1);
    destroy(client);
    return true;
  }

  #retryLater(): void {
    if (this.#isRetrying || this.#isClosed) return;
    this.#isRetrying = true;
    const delayMs = this.#retryMs * (0.5 + this.#runtime.random() / 2);
    this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
    this.#cancelRetry = this.#runtime.after(delayMs, () => {
      void this.connect().finally(() => {
        this.#isRetrying = false;
        if (this.#all.size < this.#options.connections) this.#retryLater();
      });
    });
  }

  #enter(state: NodeState): void {
    this.#state = state;
    if (state.kind !== 'up') this.#opened.clear();
    this.onChange();
  }
}

/** Ends the connection without waiting for a server that may hang. */
function destroy(client: pg.Client): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } };
  connection.stream.destroy();
}

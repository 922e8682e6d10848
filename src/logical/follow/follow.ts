import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import { Applier } from '../apply/applier.ts';
import { Catalog } from '../apply/catalog.ts';
import { ensureOwnSchema } from '../apply/own-schema.ts';
import { Quarantine } from '../apply/quarantine.ts';
import { ApplySession } from '../apply/session.ts';
import { MisfitError, TextOnlyError, UnknownTableError } from '../apply/trouble.ts';
import { ChangeStream } from '../change-stream.ts';
import { SpoolFullError } from '../spool/streamed-transactions.ts';
import { connectToLeader } from '../endpoints.ts';
import { firstSlot } from './core/slot-name.ts';
import { createMissingTables } from './create-tables.ts';
import { emptyTables } from './empty-tables.ts';
import { Gauge } from './gauge.ts';
import type { CopyTask } from './initial-copy.ts';
import { Pulse } from './pulse.ts';
import { prepareFollow } from './prepare.ts';
import type { FollowEnds, PreparedFollow } from './prepare.ts';
import { checkFollowName, readFollowTables, removeFollow } from './registry.ts';
import { dropOtherSlots, ensurePublication, readPublishedTables } from './source.ts';
import type { PublishedTable } from './source.ts';
import type { TableName } from '../tables.ts';
import type { FollowStatus } from './status.ts';

const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5_000;
/** Waits to be applied: enough for several batches, while a row in it takes as much again as an object. */
const QUEUED_BYTES = 2 * 1_048_576;

export interface FollowOptions {
  /** `postgresql://…`; of several hosts the one that leads. */
  readonly from: string;
  readonly to: string;
  readonly tables: readonly TableName[];
  /** Tells this follow from others into the same database. Default `main`. */
  readonly name?: string;
  /** Connections that copy at once. Default 2. */
  readonly jobs?: number;
  /** A table of more bytes is copied in pieces of this size. Default 64 MB. */
  readonly chunkBytes?: number;
  /**
   * How much of the source's transactions in progress may be kept in the folder for temporary files until they commit. Where
   * more comes, the source keeps them on its own disk from then on. Default 64 GiB; 0: always.
   */
  readonly maxSpoolBytes?: number;
  /** Of the target's own commits. Default `off`: the source keeps all that is not durable at the target yet. */
  readonly synchronousCommit?: string;
  /** Creates tables that the target lacks, with their columns and key. Default false. */
  readonly createsTables?: boolean;
  /** Forgets an earlier follow of this name, empties its tables, and copies anew. */
  readonly startsOver?: boolean;
  /** Told of what people should know, one sentence each. */
  readonly onEvent?: (sentence: string) => void;
}

/** What one attempt works with. */
interface Ends extends FollowEnds, AsyncDisposable {}

/**
 * Copies tables of one database into another and then keeps them the same, change by change, exactly once: across
 * crashes of either side and of itself it goes on where it was.
 */
export class Follow {
  readonly #options: FollowOptions;
  readonly #name: string;
  readonly #publication: string;
  readonly #gauge: Gauge;
  readonly #exactXids = new Set<number>();
  #format: 'binary' | 'text' = 'binary';
  #startsOver: boolean;
  #hasFollowed = false;
  #streamsLarge = true;

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#name = options.name ?? 'main';
    checkFollowName(this.#name);
    this.#publication = firstSlot(this.#name);
    this.#gauge = new Gauge(this.#name);
    this.#startsOver = options.startsOver ?? false;
  }

  get status(): FollowStatus {
    return this.#gauge.status();
  }

  /**
   * Follows until the signal aborts; what was taken is applied then. Throws CONFIG_INVALID, FENCED (another process
   * runs this follow) and what no waiting mends; all else is tried again, and told by {@link status}.
   */
  async run(signal: AbortSignal): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      const before = this.#gauge.position;
      try {
        await this.#attempt(signal);
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof TextOnlyError) {
          this.#format = 'text';
          continue;
        }
        if (error instanceof UnknownTableError) {
          this.#tell(
            `Table ${error.relation.schema}.${error.relation.name} is new in the publication; it is copied.`,
          );
          continue;
        }
        if (error instanceof SpoolFullError) {
          this.#streamsLarge = false;
          this.#tell(SPOOL_FULL);
          continue;
        }
        // What never fitted is a mistake of the command; what fits no more is to be mended at the target.
        if (!isWorthWaiting(error) || (error instanceof MisfitError && !this.#hasFollowed)) throw error;
        if (this.#gauge.position !== before) retryMs = FIRST_RETRY_MS;
        this.#gauge.wait((error as Error).message);
        this.#tell((error as Error).message);
        await delay(retryMs, undefined, { signal }).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
    this.#gauge.stop();
  }

  #tell(sentence: string): void {
    this.#options.onEvent?.(sentence);
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    this.#gauge.start();
    await using ends = await this.#connect();
    await ensureOwnSchema(ends.target);
    if (this.#startsOver) await this.#forget(ends);
    this.#startsOver = false;
    const publication = await this.#publish(ends);
    if (this.#options.createsTables === true)
      await createMissingTables(ends.source, ends.target, this.#options.tables);
    const published = await readPublishedTables(ends.source, publication);
    const catalog = new Catalog(ends.source, ends.target);
    const tasks = await this.#fit(published, catalog);
    const row = await prepareFollow(ends, catalog, tasks, {
      ...this.#options,
      name: this.#name,
      publication,
      gauge: this.#gauge,
      tell: (sentence) => this.#tell(sentence),
      signal,
    });
    await this.#applyChanges(ends, row, catalog, signal);
  }

  async #connect(): Promise<Ends> {
    const login = { applicationName: `lockstep follow ${this.#name}` };
    const source = await connectToLeader(this.#options.from, login);
    const end = (client: pg.Client): Promise<void> => client.end().catch(() => undefined);
    try {
      const target = await connectToLeader(this.#options.to, login);
      return {
        source,
        target,
        [Symbol.asyncDispose]: async () => void (await Promise.all([end(source), end(target)])),
      };
    } catch (error) {
      await end(source);
      throw error;
    }
  }

  async #publish({ source }: Ends): Promise<string> {
    await ensurePublication(source, this.#publication, this.#options.tables);
    return this.#publication;
  }

  /** Each table with how it is written; throws a sentence for the first that does not fit. */
  async #fit(published: readonly PublishedTable[], catalog: Catalog): Promise<CopyTask[]> {
    const tasks: CopyTask[] = [];
    for (const table of published) {
      let format = this.#format;
      let result = await catalog.plan(table.relation, format);
      if (result.kind === 'text-only') {
        // One value that cannot travel in binary makes the whole stream text.
        this.#format = 'text';
        format = 'text';
        result = await catalog.plan(table.relation, format);
      }
      if (result.kind === 'misfit') throw new MisfitError(result.sentence);
      if (result.kind === 'text-only') throw new TextOnlyError();
      const isCast = result.plan.columns.some((column) => column !== null && column.cast !== '');
      tasks.push({ table, plan: result.plan, format: isCast ? 'text' : format });
    }
    return tasks;
  }

  /** Drops what an earlier follow of this name has left, and empties its tables. */
  async #forget({ source, target }: Ends): Promise<void> {
    await dropOtherSlots(source, this.#name, null);
    const tables = await readFollowTables(target, this.#name);
    const isNamed = ({ schema, name }: TableName): boolean =>
      this.#options.tables.some((table) => table.schema === schema && table.name === name);
    await emptyTables(target, tables.filter(isNamed));
    await removeFollow(target, this.#name);
  }

  async #applyChanges(ends: Ends, row: PreparedFollow, catalog: Catalog, signal: AbortSignal): Promise<void> {
    const tables = await readFollowTables(ends.target, this.#name);
    const quarantine = await Quarantine.load(ends.target, this.#name);
    const session = await ApplySession.open({
      to: this.#options.to,
      follow: this.#name,
      synchronousCommit: this.#options.synchronousCommit ?? 'off',
    });
    try {
      const stream = await ChangeStream.open({
        from: this.#options.from,
        slot: row.slot,
        publications: [row.publication],
        format: this.#format,
        startLsn: row.position,
        timeline: row.history.timeline,
        confirmsIdle: false,
        maxQueuedBytes: QUEUED_BYTES,
        streamsLarge: this.#streamsLarge,
        ...(this.#options.maxSpoolBytes === undefined ? {} : { maxSpoolBytes: this.#options.maxSpoolBytes }),
        applicationName: `lockstep follow ${this.#name}`,
      });
      try {
        const applier = new Applier({
          stream,
          session,
          catalog,
          quarantine,
          format: this.#format,
          position: row.position,
          copiedAt: new Map(
            tables.map((table) => [`${table.schema}.${table.name}`, table.copiedAt ?? (0n as Lsn)]),
          ),
          exactXids: this.#exactXids,
          onMissing: (table, count) =>
            this.#tell(`${count} rows to change were missing in ${table} at the target.`),
        });
        if (!session.isReplica) this.#tell(NOT_REPLICA);
        await this.#runApplier(ends, applier, stream, quarantine, signal);
      } finally {
        stream.close();
      }
    } finally {
      session.end();
    }
  }

  async #runApplier(
    { source, target }: Ends,
    applier: Applier,
    stream: ChangeStream,
    quarantine: Quarantine,
    signal: AbortSignal,
  ): Promise<void> {
    const stop = (): void => applier.stop();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const pulse = new Pulse({
      source,
      target,
      applier,
      stream,
      quarantine,
      follow: this.#name,
      gauge: this.#gauge,
    });
    try {
      this.#gauge.follow(applier);
      this.#hasFollowed = true;
      pulse.start();
      await applier.run();
    } finally {
      signal.removeEventListener('abort', stop);
      await pulse.stop();
    }
  }
}

const SPOOL_FULL =
  'Transactions in progress take more than may be kept here (--max-spool); from now on the source keeps them on its own disk until they commit.';
const NOT_REPLICA =
  'The role may not set session_replication_role at the target: its triggers and foreign keys apply. GRANT SET ON PARAMETER session_replication_role TO it.';

/** Whether it may pass by itself, or once people have acted. */
function isWorthWaiting(error: unknown): boolean {
  if (error instanceof LockstepError) return error.retryable;
  const code = (error as { code?: string }).code ?? '';
  // Wrong password, no such database, no such role, no right: waiting does not help the first time.
  return !/^(28|3D|42|0A)/.test(code);
}

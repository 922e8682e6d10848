import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { Applier } from '../apply/applier.ts';
import { Catalog } from '../apply/catalog.ts';
import { ensureOwnSchema } from '../apply/own-schema.ts';
import { Quarantine } from '../apply/quarantine.ts';
import { ApplySession } from '../apply/session.ts';
import { MisfitError, TextOnlyError, UnknownTableError } from '../apply/trouble.ts';
import { ChangeStream } from '../change-stream.ts';
import { quoteTable } from '../core/quote.ts';
import { connectToLeader } from '../endpoints.ts';
import { createSlot, dropSlot } from '../slots.ts';
import { createMissingTables } from './create-tables.ts';
import { Gauge } from './gauge.ts';
import { copyTables } from './initial-copy.ts';
import type { CopyTask } from './initial-copy.ts';
import { Pulse } from './pulse.ts';
import {
  checkFollowName,
  insertFollow,
  readFollows,
  readFollowTables,
  removeFollow,
  setFollowTables,
} from './registry.ts';
import type { FollowRow } from './registry.ts';
import { ensurePublication, readPublishedTables, readSlot, readSource } from './source.ts';
import type { PublishedTable, TableName } from './source.ts';
import type { FollowStatus } from './status.ts';

const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5_000;

export interface FollowOptions {
  /** `postgresql://…`; of several hosts the one that leads. */
  readonly from: string;
  readonly to: string;
  readonly tables: readonly TableName[];
  /** Tells this follow from others into the same database. Default `main`. */
  readonly name?: string;
  /** Tables that are copied at once. Default 2. */
  readonly jobs?: number;
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
interface Ends extends AsyncDisposable {
  readonly source: pg.Client;
  readonly target: pg.Client;
}

/**
 * Copies tables of one database into another and then keeps them the same, change by change, exactly once: across
 * crashes of either side and of itself it goes on where it was.
 */
export class Follow {
  readonly #options: FollowOptions;
  readonly #name: string;
  readonly #slot: string;
  readonly #gauge: Gauge;
  readonly #exactXids = new Set<number>();
  #format: 'binary' | 'text' = 'binary';
  #startsOver: boolean;
  #hasFollowed = false;

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#name = options.name ?? 'main';
    checkFollowName(this.#name);
    this.#slot = `lockstep_follow_${this.#name}`;
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
    const row = await this.#prepare(ends, publication, tasks, signal);
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
    const publication = this.#slot;
    await ensurePublication(source, publication, this.#options.tables);
    return publication;
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
    await dropSlot(source, this.#slot);
    const tables = await readFollowTables(target, this.#name);
    for (const { schema, name } of tables) {
      if (this.#options.tables.some((table) => table.schema === schema && table.name === name))
        await target.query(`TRUNCATE ${quoteTable({ schema, name })} CASCADE`);
    }
    await removeFollow(target, this.#name);
  }

  /** The follow's row, with every table copied. */
  async #prepare(
    ends: Ends,
    publication: string,
    tasks: readonly CopyTask[],
    signal: AbortSignal,
  ): Promise<FollowRow> {
    const known = (await readFollows(ends.target)).find(({ name }) => name === this.#name);
    const { system, flushedLsn } = await readSource(ends.source);
    const tables = tasks.map(({ table }) => table.relation);
    if (known === undefined) {
      // Without a row, a slot of this name is one whose first copy never began.
      await dropSlot(ends.source, this.#slot);
      const slot = await createSlot({ from: this.#options.from, slot: this.#slot });
      try {
        const row = {
          name: this.#name,
          sourceSystem: system,
          slot: this.#slot,
          publication,
          position: slot.consistentLsn,
        };
        await insertFollow(ends.target, row);
        await setFollowTables(ends.target, this.#name, tables);
        await this.#copy(tasks, slot, signal);
        return { ...row, committedAt: null };
      } finally {
        await slot.release();
      }
    }
    this.#check(known, system, flushedLsn, await readSlot(ends.source, this.#slot));
    await setFollowTables(ends.target, this.#name, tables);
    const uncopied = (await readFollowTables(ends.target, this.#name)).filter(
      ({ copiedAt }) => copiedAt === null,
    );
    if (uncopied.length > 0) {
      // A view of the source of its own: the stream passes by what is in it.
      const slot = await createSlot({
        from: this.#options.from,
        slot: `${this.#slot}_copy`,
        isTemporary: true,
      });
      try {
        const left = tasks.filter(({ table: { relation } }) =>
          uncopied.some(({ schema, name }) => schema === relation.schema && name === relation.name),
        );
        await this.#copy(left, slot, signal);
      } finally {
        await slot.release();
      }
    }
    return known;
  }

  /** Refuses to go on where that would leave a gap. */
  #check(
    row: FollowRow,
    system: string,
    flushedLsn: Lsn,
    slot: { readonly confirmedLsn: Lsn; readonly isLost: boolean } | null,
  ): void {
    const anew = `Copy anew with --start-over.`;
    const refuse = (sentence: string): never => {
      throw new LockstepError('CONFIG_INVALID', `${sentence} ${anew}`, { details: { follow: row.name } });
    };
    if (row.sourceSystem !== system)
      refuse(`Follow "${row.name}" belongs to another source (${row.sourceSystem}, not ${system}).`);
    if (slot === null) refuse(`Slot ${row.slot} is gone from the source, and with it changes may be.`);
    if (slot?.isLost === true)
      refuse(`The source has dropped log that slot ${row.slot} needed (max_slot_wal_keep_size).`);
    if (slot !== null && slot.confirmedLsn > row.position)
      refuse(
        `The target is at ${formatLsn(row.position)}, before what the source still has: it lost commits.`,
      );
    if (row.position > flushedLsn)
      refuse(`The target is at ${formatLsn(row.position)}, further than the source: that lost commits.`);
  }

  async #copy(
    tasks: readonly CopyTask[],
    slot: { readonly snapshot: string; readonly consistentLsn: Lsn },
    signal: AbortSignal,
  ): Promise<void> {
    this.#gauge.beginCopy(tasks.map(({ table }) => table));
    await copyTables({
      from: this.#options.from,
      to: this.#options.to,
      follow: this.#name,
      snapshot: slot.snapshot,
      snapshotLsn: slot.consistentLsn,
      tasks,
      jobs: this.#options.jobs ?? 2,
      onBytes: ({ table }, bytes) => this.#gauge.copied(table, bytes),
      onDone: ({ table }, rows) => this.#gauge.copyDone(table, rows),
      signal,
    });
  }

  async #applyChanges(ends: Ends, row: FollowRow, catalog: Catalog, signal: AbortSignal): Promise<void> {
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
        slot: this.#slot,
        publications: [row.publication],
        format: this.#format,
        startLsn: row.position,
        confirmsIdle: false,
        streamsLarge: true,
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

const NOT_REPLICA =
  'The role may not set session_replication_role at the target: its triggers and foreign keys apply. GRANT SET ON PARAMETER session_replication_role TO it.';

/** Whether it may pass by itself, or once people have acted. */
function isWorthWaiting(error: unknown): boolean {
  if (error instanceof LockstepError) return error.retryable;
  const code = (error as { code?: string }).code ?? '';
  // Wrong password, no such database, no such role, no right: waiting does not help the first time.
  return !/^(28|3D|42|0A)/.test(code);
}

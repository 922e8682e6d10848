import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { BatchNotes, stampAfter } from '../core/batch-record.ts';
import type { BatchStamp } from '../core/batch-record.ts';
import { highestTimeUs } from '../core/change.ts';
import { clockLackUs } from '../core/patience.ts';
import { decideRow } from '../core/row-rule.ts';
import type { MissingRow, PresentRow, RowDecision } from '../core/row-rule.ts';
import { writeRecords } from '../tables/batch-records.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { microsOf, READ_TOMBSTONES, timeOf, WRITE_TOMBSTONES } from '../tables/statements.ts';
import { versionFrom, versionParameters } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';
import type { GrantMessage } from '../escrow/share-messages.ts';
import { receiveGrants } from '../escrow/shares.ts';
import { MergeBatch } from '../merge/merge-batch.ts';
import { noteOrphans } from '../orphans/orphan-notes.ts';
import { applyCarefully } from '../park/careful-table.ts';
import type { CarefulOutcome } from '../park/careful-table.ts';
import { UNIQUE_VIOLATION } from '../park/parking.ts';
import { beginPatiently } from './begin.ts';
import { ClockBehind } from './clock-behind.ts';
import type { IncomingChange } from './incoming.ts';
import { encodePlain, encodeTimed, TableSorter } from './table-work.ts';
import type { EncodedChanges, TableWork } from './table-work.ts';

export interface BatchApplierOptions {
  /** In a session with the source's replication origin, pipelined. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  /** This region's number. */
  readonly region: number;
  /** Resolves when the own reader has passed the log's end as of the call. */
  readonly passOwnLog: () => Promise<void>;
}

/** Where a batch ends, and what it brings besides changes. */
export interface BatchEnd {
  /** Where the source's log is then applied to. */
  readonly until: Lsn;
  /** Parts of numbers that the source gave to this region. */
  readonly grants: readonly GrantMessage[];
  /** When the last transaction was committed. */
  readonly timeUs: number;
}

export interface BatchReport {
  /** Changes that stand now. */
  readonly applied: number;
  /** Changes that lost to what is here. */
  readonly lost: number;
}

type Numbered = { readonly n: number };
type FoundRow = Numbered & VersionRow & { readonly committedUs: string | null; readonly isApplied: boolean };

/** More often than this no row vanishes and comes back between two statements. */
const MAX_ROUNDS = 20;

/**
 * Applies batches of another region's changes in this one, last write wins by row: what is surely older is replaced by
 * one statement a table, the rest is locked, read and decided. The rules are in docs/internals/multi-leader.md.
 */
export class BatchApplier {
  readonly #options: BatchApplierOptions;
  readonly #sorter: TableSorter;
  #lastStamp: BatchStamp | null = null;

  constructor(options: BatchApplierOptions) {
    this.#options = options;
    this.#sorter = new TableSorter(options.shapes);
  }

  /** Makes a batch ready before its turn comes. */
  prepare(changes: readonly IncomingChange[]): void {
    this.#sorter.sort(changes);
  }

  /**
   * One transaction, which waits for a lock for `lockTimeoutMs` at most; `changes` has each key once, except of tables whose columns merge. Throws
   * ClockBehind, and PostgreSQL's errors, with nothing done.
   */
  async apply(
    changes: readonly IncomingChange[],
    end: BatchEnd,
    lockTimeoutMs: number,
  ): Promise<BatchReport> {
    try {
      return await this.#try(changes, end, lockTimeoutMs, false);
    } catch (error) {
      if ((error as pg.DatabaseError).code !== UNIQUE_VIOLATION) throw error;
      return this.#try(changes, end, lockTimeoutMs, true);
    }
  }

  async #try(
    changes: readonly IncomingChange[],
    end: BatchEnd,
    lockTimeoutMs: number,
    isCareful: boolean,
  ): Promise<BatchReport> {
    try {
      return await this.#applyWithin(changes, end, lockTimeoutMs, isCareful);
    } catch (error) {
      await this.#options.client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  async #applyWithin(
    changes: readonly IncomingChange[],
    { until, grants, timeUs }: BatchEnd,
    lockTimeoutMs: number,
    isCareful: boolean,
  ): Promise<BatchReport> {
    const { client, region } = this.#options;
    const highestUs = grants.length > 0 ? Math.max(timeUs, highestTimeUs(changes)) : highestTimeUs(changes);
    const stamp = stampAfter(this.#lastStamp, highestUs);
    const batch = new OpenBatch(new BatchNotes(stamp.stampUs));
    const tables = this.#sorter.sort(changes);
    const work = tables.filter(({ shape }) => shape.merge === null);
    const merges = tables
      .filter(({ shape }) => shape.merge !== null)
      .map(({ shape, changes: some }) => new MergeBatch(client, shape, some));
    const isOneByOne = ({ shape }: TableWork): boolean => isCareful && shape.unique.length > 0;
    const clock = client.query<{ now: string }>(`SELECT ${microsOf('clock_timestamp()')} AS now`);
    const [, now] = await settleAll([
      client.query(beginPatiently(lockTimeoutMs)),
      clock,
      ...work.filter((table) => !isOneByOne(table)).flatMap((table) => this.#tryAtOnce(table, batch)),
    ]);
    const lackUs = clockLackUs(Number((now as Awaited<typeof clock>).rows[0]?.now), stamp.stampUs);
    if (lackUs > 0) throw new ClockBehind(lackUs);
    for (const table of work) {
      const { shape, changes: some } = table;
      if (isOneByOne(table)) await applyCarefully({ client, shape, region, changes: some, outcome: batch });
      else await this.#settleRest(table, batch);
    }
    for (const merge of merges) await merge.lock();
    if (batch.inserted.size > 0 || merges.length > 0) await this.#options.passOwnLog();
    if (batch.inserted.size > 0) await this.#checkInserted(work, batch);
    for (const merge of merges) await merge.replay(batch.notes);
    await receiveGrants(client, this.#options.shapes, grants);
    await noteOrphans(client, this.#options.shapes, changes);
    await this.#finish(work, batch, until);
    this.#lastStamp = stamp;
    const merged = merges.reduce((sum, { count }) => sum + count, 0);
    return { applied: batch.applied + merged, lost: batch.lost };
  }

  /** What one statement decides for all rows: those that are surely older here, and those that are not here. */
  #tryAtOnce(table: TableWork, batch: OpenBatch): Promise<unknown>[] {
    const { updates, deletes, inserts, sql } = table;
    const replaced = async (encoded: EncodedChanges, text: string): Promise<void> => {
      for (const change of await this.#runTimed(encoded, text)) batch.did(change);
    };
    return [
      ...(updates.changes.length === 0 ? [] : [replaced(updates, sql.update)]),
      ...(deletes.changes.length === 0 ? [] : [replaced(deletes, sql.remove)]),
      ...(inserts.changes.length === 0 ? [] : [this.#insert(inserts, sql.insert, batch)]),
    ];
  }

  async #insert(inserts: EncodedChanges, text: string, batch: OpenBatch): Promise<void> {
    for (const change of await this.#run(inserts, text)) batch.didInsert(change);
  }

  /** Runs a statement for the changes' rows and gives those that it returned the numbers of. */
  async #run({ changes, values }: EncodedChanges, text: string): Promise<readonly IncomingChange[]> {
    const { rows } = await this.#options.client.query<Numbered>({ text, values: [...values] });
    return rows.flatMap(({ n }) => changes[n - 1] ?? []);
  }

  /** Those that were older, of a statement that says which. */
  async #runTimed({ changes, values }: EncodedChanges, text: string): Promise<readonly IncomingChange[]> {
    const { rows } = await this.#options.client.query<{ done: readonly number[] | null }>({
      text,
      values: [...values],
    });
    const done = rows[0]?.done ?? null;
    return done === null ? changes : done.flatMap((n) => changes[n - 1] ?? []);
  }

  /** Locks, reads and decides what is left, until nothing is. */
  async #settleRest(table: TableWork, batch: OpenBatch): Promise<void> {
    const { shape, sql } = table;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const rest = table.changes.filter((change) => !batch.isSettled(change));
      if (rest.length === 0) return;
      const found = await this.#lockAndRead(table, rest);
      const puts: IncomingChange[] = [];
      const removes: IncomingChange[] = [];
      const missing: IncomingChange[] = [];
      rest.forEach((change, index) => {
        const row = found.get(index + 1);
        if (row === undefined) {
          if (change.kind === 'delete') batch.bury(change);
          else missing.push(change);
          return;
        }
        const decision = this.#decide(change, row);
        if (decision.kind === 'put') puts.push(change);
        else if (decision.kind === 'delete') removes.push(change);
        else batch.keepLocal(change);
      });
      await settleAll([
        ...(puts.length === 0 ? [] : [this.#run(encodePlain(shape, puts), sql.updateDecided)]),
        ...(removes.length === 0 ? [] : [this.#run(encodePlain(shape, removes), sql.removeDecided)]),
        ...(missing.length === 0 ? [] : [this.#insert(encodePlain(shape, missing), sql.insert, batch)]),
      ]);
      for (const change of [...puts, ...removes]) batch.did(change);
    }
    throw new Error(`rows of ${shape.name} come and go faster than they can be locked`);
  }

  async #lockAndRead(
    { shape, sql }: TableWork,
    changes: readonly IncomingChange[],
  ): Promise<ReadonlyMap<number, FoundRow>> {
    const { client } = this.#options;
    const rows = encodeRows(
      shape,
      changes.map(({ key }) => encodeKeyRow(shape, key)),
    );
    const keys = encodeKeys(changes.map(({ key }) => key));
    // In two statements: what is read must be what the lock waited for.
    const [, read] = await settleAll([
      client.query({ text: sql.lock, values: [rows] }),
      client.query<FoundRow>({ text: sql.read, values: [rows, keys, shape.name] }),
    ]);
    return new Map((read as pg.QueryResult<FoundRow>).rows.map((row) => [row.n, row]));
  }

  #decide(change: IncomingChange, row: FoundRow): RowDecision {
    const present: PresentRow = {
      kind: 'present',
      committedUs: row.committedUs === null ? null : Number(row.committedUs),
      isApplied: row.isApplied,
      record: versionFrom(row),
    };
    return decideRow(change, present, this.#options.region);
  }

  /** Undoes what a tombstone is newer than, now that every delete of before the inserts has left one. */
  async #checkInserted(work: readonly TableWork[], batch: OpenBatch): Promise<void> {
    for (const table of work) {
      const changes = table.changes.filter((change) => batch.inserted.has(change));
      if (changes.length === 0) continue;
      const { rows } = await this.#options.client.query<Numbered & VersionRow>({
        text: READ_TOMBSTONES,
        values: [table.shape.name, encodeKeys(changes.map(({ key }) => key)), true],
      });
      const tombstones = new Map(rows.map((row) => [row.n, versionFrom(row)]));
      const undone = changes.filter((change, index) => {
        const missing: MissingRow = { kind: 'missing', tombstone: tombstones.get(index + 1) ?? null };
        return decideRow(change, missing, this.#options.region).kind === 'keep';
      });
      if (undone.length > 0) await this.#run(encodePlain(table.shape, undone), table.sql.removeDecided);
      for (const change of changes) {
        if (undone.includes(change)) batch.keepLocal(change);
        else batch.did(change);
      }
    }
  }

  async #finish(work: readonly TableWork[], batch: OpenBatch, until: Lsn): Promise<void> {
    const { client } = this.#options;
    const { notes } = batch;
    const { records, tombstones, commitTimeUs } = notes;
    await settleAll([
      // Without a commit time of its own the transaction would be stamped with that of the session's last one.
      client.query(`SELECT pg_replication_origin_xact_setup($1::pg_lsn, ${timeOf('$2::bigint')})`, [
        formatLsn(until),
        commitTimeUs,
      ]),
      writeRecords(
        client,
        this.#options.shapes,
        records,
        commitTimeUs,
        work.map((table) => table.records),
      ),
      ...(tombstones.length === 0 ? [] : [client.query(WRITE_TOMBSTONES, versionParameters(tombstones))]),
      // Last: a row whose commit was under way, and locked nothing, may be visible by now.
      ...work.flatMap((table) => {
        const buried = table.changes.filter((change) => batch.buried.has(change));
        return buried.length === 0
          ? []
          : [this.#runTimed(encodeTimed(table.shape, buried), table.sql.remove)];
      }),
      client.query('COMMIT'),
    ]);
  }
}

/** What has become of each change of a batch so far. */
class OpenBatch implements CarefulOutcome {
  readonly notes: BatchNotes;
  readonly inserted = new Set<IncomingChange>();
  readonly buried = new Set<IncomingChange>();
  readonly #settled = new Set<IncomingChange>();
  applied = 0;
  lost = 0;

  constructor(notes: BatchNotes) {
    this.notes = notes;
  }

  isSettled(change: IncomingChange): boolean {
    return this.#settled.has(change) || this.inserted.has(change);
  }

  /** For the time being: a tombstone may be newer. */
  didInsert(change: IncomingChange): void {
    this.inserted.add(change);
  }

  did(change: IncomingChange): void {
    this.#settled.add(change);
    this.applied++;
    if (change.kind === 'put') this.notes.put(change, change.version);
    else this.notes.delete(change);
  }

  bury(change: IncomingChange): void {
    this.buried.add(change);
    this.#settled.add(change);
    this.notes.delete(change);
  }

  park(change: IncomingChange): void {
    this.#settled.add(change);
    this.notes.see(change.version.timeUs);
    this.applied++;
  }

  keepLocal(change: IncomingChange): void {
    this.#settled.add(change);
    this.lost++;
  }
}

/** Waits for all of a flight, so that none is left under way, and throws the first failure. */
async function settleAll(flight: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(flight);
  const failed = settled.find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return settled.map((one) => (one as PromiseFulfilledResult<unknown>).value);
}

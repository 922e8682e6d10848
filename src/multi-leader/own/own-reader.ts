import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { ChangeStream } from '../../logical/change-stream.ts';
import type { TransactionPart } from '../../logical/core/change.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { WHOLE_TABLE } from '../apply/emptying.ts';
import { IncomingReader } from '../apply/incoming.ts';
import type { IncomingChange } from '../apply/incoming.ts';
import type { Image } from '../core/image.ts';
import { writeBases, writeOperations } from '../merge/journal-store.ts';
import { readOperations } from '../merge/merge-batch.ts';
import type { BatchRecord } from '../core/batch-record.ts';
import { rowId } from '../core/change.ts';
import { compareVersions } from '../core/version.ts';
import type { Version } from '../core/version.ts';
import { keepRemoved } from '../orphans/orphan-notes.ts';
import { PUBLICATION } from '../setup/publication.ts';
import { OWN_SLOT } from '../setup/region-setup.ts';
import type { TableShape } from '../tables/shape.ts';
import { SCHEMA, WRITE_TOMBSTONES } from '../tables/statements.ts';
import { versionParameters } from '../tables/versions.ts';
import { PROMISE, readPromise } from './promises.ts';

export const BARRIER = 'lockstep.barrier';
/** Of a UUID as text. */
const ID_BYTES = 36;

export interface OwnReaderOptions {
  readonly url: string;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  /** For its own writes. */
  readonly client: pg.Client;
  /** To mark places in the log, outside of any transaction. */
  readonly marks: pg.Client;
  readonly promiseKey: Buffer;
  /** Called when the region's own log was read past a promise. */
  readonly onPromise: (timeUs: number) => void;
}

/** What whole transactions of the own log leave behind. */
interface OwnNotes {
  readonly tombstones: readonly BatchRecord[];
  readonly merging: ReadonlyMap<TableShape, readonly IncomingChange[]>;
  /** Rows that were parents. */
  readonly removed: readonly IncomingChange[];
}

/**
 * Reads the region's own log: each delete that was made here leaves a tombstone, without a trigger. What applied batches
 * did is skipped by its origin.
 */
export class OwnReader {
  readonly #options: OwnReaderOptions;
  readonly #reader: IncomingReader;
  readonly #waiting = new Map<string, { resolve(): void; reject(error: Error): void }>();
  #stream: ChangeStream | null = null;
  #isClosed = false;

  constructor(options: OwnReaderOptions) {
    this.#options = options;
    this.#reader = new IncomingReader(options.shapes, options.region);
  }

  /** Reads until {@link close}, or throws what went wrong. */
  async run(): Promise<void> {
    const stream = await ChangeStream.open({
      from: this.#options.url,
      slot: OWN_SLOT,
      publications: [PUBLICATION],
      origin: 'none',
      format: 'binary',
      startLsn: await readOwnPosition(this.#options.client),
      applicationName: 'lockstep regions own reader',
    });
    this.#stream = stream;
    // It was told to end while the stream was being opened.
    if (this.#isClosed) stream.close();
    const open: TransactionPart[] = [];
    try {
      for (;;) {
        const parts = await stream.take();
        if (parts.length === 0) return;
        open.push(...parts);
        // Whole transactions, so that each is one operation of a row, as in every other region.
        const end = open.findLastIndex(({ isLast }) => isLast) + 1;
        if (end > 0) await this.#handle(open.splice(0, end), stream);
      }
    } finally {
      stream.close();
      for (const { reject } of this.#waiting.values()) reject(new Error('the own log is no longer read'));
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#stream?.close();
  }

  /**
   * Resolves when everything that was committed before the call has been read and its tombstones are there to be seen.
   * The mark is a commit of its own, which also writes the log out on a server where nothing else happens.
   */
  async pass(): Promise<void> {
    const id = randomUUID();
    const passed = new Promise<void>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    try {
      await Promise.all([
        passed,
        this.#options.marks.query('SELECT pg_logical_emit_message(true, $1, $2)', [BARRIER, id]),
      ]);
    } finally {
      this.#waiting.delete(id);
    }
  }

  async #handle(parts: readonly TransactionPart[], stream: ChangeStream): Promise<void> {
    const tombstones = new Map<string, BatchRecord>();
    const merging = new Map<TableShape, IncomingChange[]>();
    const removed: IncomingChange[] = [];
    const barriers: string[] = [];
    const promises: number[] = [];
    for (const part of parts) {
      const { changes, emptied, messages } = this.#reader.read(part);
      for (const change of changes) {
        const shape = this.#options.shapes.get(change.table);
        if (shape !== undefined && shape.merge !== null)
          merging.set(shape, [...(merging.get(shape) ?? []), change]);
        else if (change.kind === 'delete') keepLatest(tombstones, change);
        if (change.kind === 'delete' && shape !== undefined && shape.parentOf !== 'none')
          removed.push(change);
      }
      for (const { table, version } of emptied) {
        keepLatest(tombstones, { table, key: WHOLE_TABLE, version });
        removed.push(...this.#removedWith(table, version));
      }
      for (const { prefix, content } of messages) {
        if (prefix === BARRIER && content.length === ID_BYTES) barriers.push(content.toString('latin1'));
        else if (prefix === PROMISE) {
          const timeUs = readPromise(content, this.#options.promiseKey);
          if (timeUs !== null) promises.push(timeUs);
        }
      }
    }
    const until = parts.at(-1)?.endLsn;
    await this.#write({ tombstones: [...tombstones.values()], merging, removed }, until ?? (0n as Lsn));
    for (const id of barriers) this.#waiting.get(id)?.resolve();
    for (const timeUs of promises) this.#options.onPromise(timeUs);
    if (until !== undefined) stream.acknowledge(until);
  }

  /** Of a table that was emptied no row can come back. */
  #removedWith(table: string, version: Version): IncomingChange[] {
    if ((this.#options.shapes.get(table)?.parentOf ?? 'none') === 'none') return [];
    return [{ kind: 'delete', table, key: WHOLE_TABLE, version, row: null, isInsert: false, old: null }];
  }

  /** With the position in the same transaction: an operation that was entered, and settled, is not entered again. */
  async #write({ tombstones, merging, removed }: OwnNotes, until: Lsn): Promise<void> {
    const { client, shapes } = this.#options;
    if (tombstones.length === 0 && merging.size === 0 && removed.length === 0) return;
    await client.query('BEGIN');
    try {
      // By name, and tombstones last, as a batch does: neither waits for the other in a circle.
      for (const [shape, changes] of [...merging].toSorted(([a], [b]) => (a.name < b.name ? -1 : 1))) {
        const operations = await readOperations(client, shape, changes);
        const bases = new Map<string, Image | null>();
        for (const { key, operation } of operations) if (!bases.has(key)) bases.set(key, operation.old);
        await writeBases(client, shape, bases);
        await writeOperations(client, shape, operations);
      }
      await keepRemoved(client, shapes, removed);
      if (tombstones.length > 0) await client.query(WRITE_TOMBSTONES, versionParameters(tombstones));
      await client.query(WRITE_OWN_POSITION, [formatLsn(until)]);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
}

const WRITE_OWN_POSITION = `INSERT INTO ${SCHEMA}.own_position (lsn) VALUES ($1)
  ON CONFLICT (only_row) DO UPDATE SET lsn = excluded.lsn`;

async function readOwnPosition(client: pg.Client): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: string }>(`SELECT lsn::text AS lsn FROM ${SCHEMA}.own_position`);
  return rows[0] === undefined ? (0n as Lsn) : parseLsn(rows[0].lsn);
}

function keepLatest(tombstones: Map<string, BatchRecord>, { table, key, version }: BatchRecord): void {
  const record = { table, key, version };
  const known = tombstones.get(rowId(record));
  if (known === undefined || compareVersions(record.version, known.version) > 0)
    tombstones.set(rowId(record), record);
}

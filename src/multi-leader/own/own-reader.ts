import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { ChangeStream } from '../../logical/change-stream.ts';
import type { TransactionPart } from '../../logical/core/change.ts';
import { IncomingReader } from '../apply/incoming.ts';
import type { BatchRecord } from '../core/batch-record.ts';
import { rowId } from '../core/change.ts';
import { compareVersions } from '../core/version.ts';
import { OWN_SLOT, PUBLICATION } from '../setup/region-setup.ts';
import type { TableShape } from '../tables/shape.ts';
import { WRITE_TOMBSTONES } from '../tables/statements.ts';
import { versionParameters } from '../tables/versions.ts';
import { PROMISE } from './promises.ts';

export const BARRIER = 'lockstep.barrier';

export interface OwnReaderOptions {
  readonly url: string;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  /** For its own writes, and to mark places in the log; not shared with a batch. */
  readonly client: pg.Client;
  /** Called when the region's own log was read past a promise. */
  readonly onPromise: (timeUs: number) => void;
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
      applicationName: 'lockstep regions own reader',
    });
    this.#stream = stream;
    try {
      for (;;) {
        const parts = await stream.take();
        if (parts.length === 0) return;
        await this.#handle(parts, stream);
      }
    } finally {
      stream.close();
      for (const { reject } of this.#waiting.values()) reject(new Error('the own log is no longer read'));
    }
  }

  close(): void {
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
        this.#options.client.query('SELECT pg_logical_emit_message(true, $1, $2)', [BARRIER, id]),
      ]);
    } finally {
      this.#waiting.delete(id);
    }
  }

  async #handle(parts: readonly TransactionPart[], stream: ChangeStream): Promise<void> {
    const tombstones = new Map<string, BatchRecord>();
    const barriers: string[] = [];
    const promises: number[] = [];
    for (const part of parts) {
      const { changes, emptied, messages } = this.#reader.read(part);
      for (const { kind, table, key, version } of changes)
        if (kind === 'delete') keepLatest(tombstones, { table, key, version });
      for (const { table, version } of emptied) keepLatest(tombstones, { table, key: '', version });
      for (const { prefix, content } of messages) {
        if (prefix === BARRIER) barriers.push(content);
        else if (prefix === PROMISE) promises.push(Number(content));
      }
    }
    if (tombstones.size > 0)
      await this.#options.client.query(WRITE_TOMBSTONES, versionParameters([...tombstones.values()]));
    for (const id of barriers) this.#waiting.get(id)?.resolve();
    for (const timeUs of promises) this.#options.onPromise(timeUs);
    const last = parts.findLast(({ isLast }) => isLast);
    if (last !== undefined) stream.acknowledge(last.endLsn);
  }
}

function keepLatest(tombstones: Map<string, BatchRecord>, record: BatchRecord): void {
  const known = tombstones.get(rowId(record));
  if (known === undefined || compareVersions(record.version, known.version) > 0)
    tombstones.set(rowId(record), record);
}

import { lagBytes } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Applier } from '../apply/applier.ts';
import type { PublishedTable } from './source.ts';
import type { FollowStatus, TableStatus } from './status.ts';

/** Rates are over the last of these. */
const WINDOW_BEATS = 5;

interface Beat {
  readonly atMs: number;
  readonly transactions: number;
  readonly changes: number;
  readonly lagBytes: number;
}

/** Collects what a follow shows of itself. */
export class Gauge {
  readonly #name: string;
  #state: FollowStatus['state'] = 'starting';
  #message: string | null = null;
  #tables = new Map<string, TableStatus>();
  #applier: Applier | null = null;
  #earlier = { transactions: 0, changes: 0, rows: 0, missingRows: 0 };
  #beats: Beat[] = [];
  #sourceLsn: Lsn | null = null;
  #lagBytes: number | null = null;
  #isCaughtUp = false;
  #quarantined = 0;
  #position = 0n as Lsn;

  constructor(name: string) {
    this.#name = name;
  }

  get position(): Lsn {
    return this.#applier?.appliedLsn ?? this.#position;
  }

  start(): void {
    this.#leaveApplier();
    if (this.#state !== 'waiting') this.#state = 'starting';
  }

  wait(message: string): void {
    this.#leaveApplier();
    this.#state = 'waiting';
    this.#message = message;
  }

  stop(): void {
    this.#leaveApplier();
    this.#state = 'stopped';
  }

  beginCopy(tables: readonly PublishedTable[]): void {
    this.#state = 'copying';
    this.#message = null;
    for (const { relation, bytes } of tables) {
      const table = `${relation.schema}.${relation.name}`;
      this.#tables.set(table, { table, state: 'waiting', copiedBytes: 0, totalBytes: bytes, rows: null });
    }
  }

  copied({ relation }: PublishedTable, bytes: number): void {
    const table = this.#tables.get(`${relation.schema}.${relation.name}`);
    if (table === undefined) return;
    this.#tables.set(table.table, { ...table, state: 'copying', copiedBytes: table.copiedBytes + bytes });
  }

  copyDone({ relation }: PublishedTable, rows: number): void {
    const table = this.#tables.get(`${relation.schema}.${relation.name}`);
    if (table !== undefined) this.#tables.set(table.table, { ...table, state: 'copied', rows });
  }

  follow(applier: Applier): void {
    this.#applier = applier;
    this.#state = 'following';
    this.#message = null;
    this.#beats = [];
  }

  /** Once a second, with how far the source's log goes. */
  beat(flushedLsn: Lsn, isCaughtUp: boolean, quarantined: number): void {
    const { transactions, changes } = this.#totals();
    this.#quarantined = quarantined;
    this.#sourceLsn = flushedLsn;
    this.#isCaughtUp = isCaughtUp;
    this.#lagBytes = isCaughtUp ? 0 : lagBytes(flushedLsn, this.position);
    this.#beats.push({ atMs: performance.now(), transactions, changes, lagBytes: this.#lagBytes });
    if (this.#beats.length > WINDOW_BEATS + 1) this.#beats.shift();
  }

  status(): FollowStatus {
    const totals = this.#totals();
    const [first, last] = [this.#beats[0], this.#beats.at(-1)];
    const seconds = first === undefined || last === undefined ? 0 : (last.atMs - first.atMs) / 1_000;
    const rate = (of: (beat: Beat) => number): number =>
      first === undefined || last === undefined || seconds === 0 ? 0 : (of(last) - of(first)) / seconds;
    const closing = -rate((beat) => beat.lagBytes);
    const newest = this.#applier?.appliedAtMicros ?? 0n;
    const age = newest === 0n ? null : Math.max(0, Date.now() - Number(newest / 1_000n));
    return {
      name: this.#name,
      state: this.#state,
      message: this.#message,
      tables: [...this.#tables.values()],
      position: this.position,
      sourceLsn: this.#sourceLsn,
      lagBytes: this.#lagBytes,
      lagMs: this.#lagBytes === null ? null : this.#isCaughtUp ? 0 : age,
      transactionsPerSecond: rate((beat) => beat.transactions),
      changesPerSecond: rate((beat) => beat.changes),
      caughtUpInSeconds: this.#isCaughtUp ? 0 : closing > 0 ? (this.#lagBytes ?? 0) / closing : null,
      ...totals,
      quarantined: this.#quarantined,
    };
  }

  #totals(): { transactions: number; changes: number; rows: number; missingRows: number } {
    const { transactions = 0, changes = 0, rows = 0, missingRows = 0 } = this.#applier?.counts ?? {};
    const earlier = this.#earlier;
    return {
      transactions: earlier.transactions + transactions,
      changes: earlier.changes + changes,
      rows: earlier.rows + rows,
      missingRows: earlier.missingRows + missingRows,
    };
  }

  #leaveApplier(): void {
    this.#earlier = this.#totals();
    this.#position = this.position;
    this.#applier = null;
    this.#sourceLsn = null;
    this.#lagBytes = null;
    this.#isCaughtUp = false;
  }
}

import type pg from 'pg';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Applier } from '../apply/applier.ts';
import { OWN_SCHEMA } from '../apply/own-schema.ts';
import type { Quarantine } from '../apply/quarantine.ts';
import type { ChangeStream } from '../change-stream.ts';
import type { Gauge } from './gauge.ts';
import { writeReport } from './registry.ts';

const EVERY_MS = 1_000;
/** A target where nothing happens is not written to all the time. */
const REPORT_BEATS = 5;
/** Other tables' log: the follow moves past it when there is so much of it, so that the source can recycle it. */
const SKIP_BYTES = 1_048_576n;

export interface PulseOptions {
  readonly source: pg.Client;
  readonly target: pg.Client;
  readonly applier: Applier;
  readonly stream: ChangeStream;
  readonly quarantine: Quarantine;
  readonly follow: string;
  readonly gauge: Gauge;
}

/**
 * What a follow does once a second: it makes sure that what was applied is durable at the target and at those that
 * its commits wait for, acknowledges that to the source, and looks how far both are.
 */
export class Pulse {
  readonly #options: PulseOptions;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> = Promise.resolve();
  #isBusy = false;
  #acknowledged = 0n as Lsn;
  #quarantined = '';
  #beats = 0;

  constructor(options: PulseOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#beat(), EVERY_MS);
    this.#beat();
  }

  /** Acknowledges once more what can be. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#running;
    await this.#acknowledge().catch(() => undefined);
  }

  #beat(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    // A connection that was lost ends the applier too, which says so.
    this.#running = this.#once()
      .catch(() => undefined)
      .finally(() => (this.#isBusy = false));
  }

  async #once(): Promise<void> {
    const { source, target, applier, stream, quarantine, follow, gauge } = this.#options;
    const { rows } = await source.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
    const flushed = parseLsn(rows[0]?.lsn ?? '0/0');
    if (applier.isIdle && stream.isDrained && stream.serverLsn > applier.appliedLsn + SKIP_BYTES)
      await applier.skipTo(stream.serverLsn);
    await this.#acknowledge();
    const kept = await target.query<{ count: string; newest: string }>(
      `SELECT count(*)::text AS count, count(*) || ' ' || coalesce(max(id), 0) AS newest FROM ${OWN_SCHEMA}.quarantine WHERE follow = $1`,
      [follow],
    );
    const [row] = kept.rows;
    if (row !== undefined && row.newest !== this.#quarantined) {
      this.#quarantined = row.newest;
      await quarantine.reload(target);
    }
    gauge.beat(
      flushed,
      applier.isIdle && stream.isDrained && stream.serverLsn >= flushed,
      Number(row?.count ?? 0),
    );
    if (this.#beats++ % REPORT_BEATS === 0) await writeReport(target, gauge.status());
  }

  async #acknowledge(): Promise<void> {
    const { target, applier, stream } = this.#options;
    const applied = applier.appliedLsn;
    if (applied <= this.#acknowledged) return;
    // A commit of its own that waits for the disk, and for synchronous followers: all earlier ones are then there.
    await target.query(`SELECT pg_logical_emit_message(true, 'lockstep.durable', '')`);
    stream.acknowledge(applied);
    this.#acknowledged = applied;
  }
}

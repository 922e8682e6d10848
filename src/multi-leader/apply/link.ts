import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { ChangeStream } from '../../logical/change-stream.ts';
import type { TransactionPart } from '../../logical/core/change.ts';
import { LockstepError } from '../../model/errors.ts';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { collapseChanges } from '../core/change.ts';
import { PROMISE } from '../own/promises.ts';
import { openOriginSession } from '../sessions.ts';
import { nameFor, PUBLICATION } from '../setup/region-setup.ts';
import type { TableShape } from '../tables/shape.ts';
import { BatchApplier, ClockBehind } from './batch-applier.ts';
import { IncomingReader } from './incoming.ts';
import type { IncomingChange } from './incoming.ts';
import type { Turns } from './turns.ts';

export interface LinkOptions {
  readonly source: { readonly name: string; readonly number: number; readonly url: string };
  readonly own: { readonly name: string; readonly number: number; readonly url: string };
  readonly shapes: ReadonlyMap<string, TableShape>;
  /** Batches of all links into this region, one at a time: two never work on one key. */
  readonly turns: Turns;
  readonly passOwnLog: () => Promise<void>;
  readonly onPromise: (timeUs: number) => void;
  /** Further ahead than this is told as the source's clock being wrong. */
  readonly maxSkewMs: number;
}

export type LinkState = 'connecting' | 'streaming' | 'cut' | 'held' | 'failed';

/** What a link is doing; its JSON is part of `lockstep regions status --json`. */
export interface LinkStatus {
  readonly from: string;
  readonly to: string;
  readonly state: LinkState;
  /** Why it is held, or failed last; null while all is well. */
  readonly detail: string | null;
  readonly applied: number;
  /** Changes that lost to a later write here. */
  readonly lost: number;
  /** From the commit there to the commit here, of the last batch; null before the first. */
  readonly lagMs: number | null;
  /** By the source's clock: everything that it committed up to then is here; null before that is known. */
  readonly promisedAtMs: number | null;
}

const BATCH_CHANGES = 2_000;
const RETRY_MS = 500;
const RETRYABLE = new Set(['40P01', '40001']);

/** Brings one other region's changes into this one, in batches, until it is stopped; starts anew after a failure. */
export class Link {
  readonly #options: LinkOptions;
  #state: LinkState = 'connecting';
  #detail: string | null = null;
  #applied = 0;
  #lost = 0;
  #lagMs: number | null = null;
  #promisedAtMs: number | null = null;
  #isCut = false;
  #stopping: AbortController = new AbortController();
  #stream: ChangeStream | null = null;
  #running: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions, isCut: boolean) {
    this.#options = options;
    this.#isCut = isCut;
    if (isCut) this.#state = 'cut';
  }

  get status(): LinkStatus {
    return {
      from: this.#options.source.name,
      to: this.#options.own.name,
      state: this.#state,
      detail: this.#detail,
      applied: this.#applied,
      lost: this.#lost,
      lagMs: this.#lagMs,
      promisedAtMs: this.#promisedAtMs,
    };
  }

  start(): void {
    if (this.#isCut) return;
    this.#stopping = new AbortController();
    this.#running = this.#runUntilStopped(this.#stopping.signal);
  }

  /** Resolves when the batch under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stream?.close();
    await this.#running;
  }

  async setCut(isCut: boolean): Promise<void> {
    if (isCut === this.#isCut) return;
    this.#isCut = isCut;
    if (isCut) {
      await this.stop();
      this.#become('cut', null);
    } else {
      this.#become('connecting', null);
      this.start();
    }
  }

  #become(state: LinkState, detail: string | null): void {
    this.#state = state;
    this.#detail = detail;
  }

  async #runUntilStopped(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#become('failed', describe(error));
        await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { source, own, shapes, passOwnLog } = this.#options;
    const origin = nameFor(source.name);
    const client = await openOriginSession(own.url, `from ${source.name}`, origin);
    try {
      const stream = await ChangeStream.open({
        from: source.url,
        slot: nameFor(own.name),
        publications: [PUBLICATION],
        origin: 'none',
        format: 'binary',
        startLsn: await readProgress(client, origin),
        applicationName: `lockstep regions to ${own.name}`,
        signal,
      });
      this.#stream = stream;
      this.#become('streaming', null);
      const reader = new IncomingReader(shapes, source.number);
      const applier = new BatchApplier({ client, shapes, region: own.number, passOwnLog });
      try {
        await this.#pump(stream, reader, applier, signal);
      } finally {
        stream.close();
      }
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async #pump(
    stream: ChangeStream,
    reader: IncomingReader,
    applier: BatchApplier,
    signal: AbortSignal,
  ): Promise<void> {
    const { shapes } = this.#options;
    const gathered = new Gathered();
    for (;;) {
      const parts = await stream.take();
      if (parts.length === 0) return;
      for (const part of parts) {
        gathered.add(part, reader);
        // Where columns merge, a transaction's changes of a row are one operation in every region.
        const maySplit =
          part.isLast || !gathered.changes.some(({ table }) => shapes.get(table)?.merge != null);
        if (gathered.changes.length >= BATCH_CHANGES && maySplit)
          await this.#flush(gathered, applier, stream, signal);
      }
      if (parts.at(-1)?.isLast === true) await this.#flush(gathered, applier, stream, signal);
      if (signal.aborted) return;
    }
  }

  async #flush(
    gathered: Gathered,
    applier: BatchApplier,
    stream: ChangeStream,
    signal: AbortSignal,
  ): Promise<void> {
    const { changes, until, promises, timeUs } = gathered.take();
    if (changes.length > 0) {
      await this.#apply(applier, changes, until, signal);
      this.#lagMs = Math.max(0, Date.now() - timeUs / 1_000);
    }
    for (const promised of promises) {
      this.#promisedAtMs = promised / 1_000;
      this.#options.onPromise(promised);
    }
    if (until > 0n) stream.acknowledge(until);
  }

  async #apply(
    applier: BatchApplier,
    changes: readonly IncomingChange[],
    until: Lsn,
    signal: AbortSignal,
  ): Promise<void> {
    const isMerging = ({ table }: IncomingChange): boolean => this.#options.shapes.get(table)?.merge != null;
    const whole = changes.filter((change) => !isMerging(change));
    const collapsed = [...(collapseChanges(whole) as IncomingChange[]), ...changes.filter(isMerging)];
    for (;;) {
      try {
        const report = await this.#options.turns.take(() => applier.apply(collapsed, until));
        this.#applied += report.applied;
        this.#lost += report.lost;
        if (this.#state === 'held') this.#become('streaming', null);
        return;
      } catch (error) {
        if (error instanceof ClockBehind) await this.#waitForClock(error.lackUs, signal);
        else if (!RETRYABLE.has((error as pg.DatabaseError).code ?? '')) throw error;
      }
    }
  }

  /** With clocks in step this never waits. Nothing is lost meanwhile: the source keeps what is not acknowledged. */
  async #waitForClock(lackUs: number, signal: AbortSignal): Promise<void> {
    const { source, own, maxSkewMs } = this.#options;
    const lackMs = Math.ceil(lackUs / 1_000);
    if (lackMs > maxSkewMs) {
      this.#become(
        'held',
        `The clock of region ${source.name} is ${(lackMs / 1_000).toFixed(1)} s ahead of region ${own.name}'s. Set the clocks right; the changes wait until then.`,
      );
    }
    await delay(Math.min(lackMs, RETRY_MS), undefined, { signal });
  }
}

/** Changes that wait to be applied as one batch. */
class Gathered {
  changes: IncomingChange[] = [];
  #until: Lsn = 0n as Lsn;
  #promises: number[] = [];
  #timeUs = 0;

  add(part: TransactionPart, reader: IncomingReader): void {
    const { changes, emptied, messages } = reader.read(part);
    const [first] = emptied;
    if (first !== undefined) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${first.table} was truncated there, which is not applied yet. Empty it here too with DELETE, and see docs/multi-leader.md.`,
      );
    }
    for (const change of changes) this.changes.push(change);
    for (const { prefix, content } of messages) if (prefix === PROMISE) this.#promises.push(Number(content));
    this.#timeUs = Number(part.committedAtMicros);
    if (part.isLast) this.#until = part.endLsn;
  }

  take(): {
    readonly changes: readonly IncomingChange[];
    readonly until: Lsn;
    readonly promises: readonly number[];
    readonly timeUs: number;
  } {
    const taken = {
      changes: this.changes,
      until: this.#until,
      promises: this.#promises,
      timeUs: this.#timeUs,
    };
    this.changes = [];
    this.#promises = [];
    return taken;
  }
}

/** How far the origin's log was applied, as of the last durable commit. */
async function readProgress(client: pg.Client, origin: string): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: string | null }>(
    'SELECT pg_replication_origin_progress($1, true)::text AS lsn',
    [origin],
  );
  return rows[0]?.lsn == null ? (0n as Lsn) : parseLsn(rows[0].lsn);
}

function describe(error: unknown): string {
  const { code, message, detail } = error as pg.DatabaseError;
  if (code === '42704') return `The other region is not ready yet: ${message}.`;
  return detail === undefined ? message : `${message} (${detail})`;
}

import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { ChangeStream } from '../../logical/change-stream.ts';
import type { TransactionPart } from '../../logical/core/change.ts';
import type { Sequence } from '../../model/sequence.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import { collapseChanges } from '../core/change.ts';
import { lockTimeoutMs, mayGoTogether } from '../core/patience.ts';
import { noteShares } from '../escrow/shares.ts';
import { logDecisions } from '../own/decisions.ts';
import { openOriginSession } from '../sessions.ts';
import { PUBLICATION } from '../setup/publication.ts';
import { nameFor } from '../setup/region-setup.ts';
import type { TableShape } from '../tables/shape.ts';
import { FIND_ROWS_BY_KEY } from './begin.ts';
import { BatchApplier } from './batch-applier.ts';
import type { BatchEnd, BatchReport } from './batch-applier.ts';
import { ClockBehind } from './clock-behind.ts';
import { applyEmptying } from './emptying.ts';
import { Flushes } from './flushes.ts';
import { Gathered } from './gathered.ts';
import { IncomingReader } from './incoming.ts';
import { noteProgress, readDeadlockTimeout, readProgress } from './progress.ts';
import { askSource, checkSource } from './source-words.ts';
import type { EmptiedTable, IncomingChange } from './incoming.ts';

export interface LinkOptions {
  readonly source: { readonly name: string; readonly number: number; readonly url: string };
  readonly own: { readonly name: string; readonly number: number; readonly url: string };
  readonly shapes: ReadonlyMap<string, TableShape>;
  /** Reads anew what this region's tables are, where people have changed them. */
  readonly refreshShapes: () => Promise<void>;
  /** How this region decides, as one text; the source must decide alike. */
  readonly definition: string;
  /** Batches of all links into this region, one at a time: two never work on one key. */
  readonly turns: Sequence;
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
  /** Batches that let go of their rows, because a local writer held one, and were tried again. */
  readonly gaveWay: number;
  /** From the commit there to the commit here, of the last batch; null before the first. */
  readonly lagMs: number | null;
  /** By the source's clock: everything that it committed up to then is here; null before that is known. */
  readonly promisedAtMs: number | null;
}

/** This region, for one source. */
interface Target {
  readonly client: pg.Client;
  readonly applier: BatchApplier;
  /** Of the source. */
  readonly promiseKey: Buffer;
  /** Of this region's server: who waits for so long looks for a circle. */
  readonly deadlockTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** A batch. */
type Taken = Omit<ReturnType<Gathered['take']>, 'changes'> &
  BatchEnd & {
    /** One change each, of tables whose rows do not merge. */
    readonly rows: readonly IncomingChange[];
    readonly merging: readonly IncomingChange[];
    readonly together: readonly IncomingChange[];
  };

const BATCH_CHANGES = 2_000;
const NOTE_IDLE_EVERY_MS = 10_000;
const RETRY_MS = 500;
/** A lock that was not to be had in time, a circle, a row that was written meanwhile. */
const GIVES_WAY = new Set(['55P03', '40P01', '40001']);

/** Brings one other region's changes into this one, in batches, until it is stopped; starts anew after a failure. */
export class Link {
  readonly #options: LinkOptions;
  #state: LinkState = 'connecting';
  #detail: string | null = null;
  #applied = 0;
  #lost = 0;
  #gaveWay = 0;
  #lagMs: number | null = null;
  #promisedAtMs: number | null = null;
  #notedAtMs = 0;
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
      gaveWay: this.#gaveWay,
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
        if (error instanceof LockstepError) await this.#options.refreshShapes().catch(() => undefined);
        await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { source, own, shapes, passOwnLog } = this.#options;
    const origin = nameFor(source.name);
    const words = await askSource(source, own.name);
    const { promiseKey } = words;
    const client = await openOriginSession(own.url, `from ${source.name}`, origin);
    try {
      await client.query(FIND_ROWS_BY_KEY);
      const applied = await readProgress(client, origin);
      const { definition } = this.#options;
      await checkSource(client, words, { source: source.name, own: own.name, definition, applied });
      const stream = await ChangeStream.open({
        from: source.url,
        slot: nameFor(own.name),
        publications: [PUBLICATION],
        origin: 'none',
        format: 'binary',
        startLsn: applied,
        // Only what is noted here: so it shows when this region, or the source, was put back to an earlier state.
        confirmsIdle: false,
        applicationName: `lockstep regions to ${own.name}`,
        signal,
      });
      this.#stream = stream;
      this.#become('streaming', null);
      const reader = new IncomingReader(shapes, source.number);
      const applier = new BatchApplier({ client, shapes, region: own.number, passOwnLog });
      try {
        const deadlockTimeoutMs = await readDeadlockTimeout(client);
        await this.#pump(stream, reader, { client, applier, promiseKey, deadlockTimeoutMs, signal });
      } finally {
        stream.close();
      }
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  /** Gathers the next batch while one is being applied: one after the other, in the order of the source's log. */
  async #pump(stream: ChangeStream, reader: IncomingReader, target: Target): Promise<void> {
    const gathered = new Gathered(target.promiseKey);
    /** A full batch that waits for its turn. */
    let ready: Taken | null = null;
    const flushes = new Flushes(() => {
      const batch = ready ?? this.#take(gathered, target);
      ready = null;
      return this.#flush(batch, target, stream);
    });
    // What failed while more was waited for ends the waiting.
    flushes.onFailure = () => stream.close();
    flushes.onDone = () => {
      if (ready !== null || (gathered.isWhole && gathered.hasMore)) flushes.begin();
    };
    try {
      for (;;) {
        const parts = await stream.take();
        if (parts.length === 0) return await flushes.settled();
        for (const part of parts) {
          await this.#gather(reader, part, { gathered, flushes, target });
          while (this.#isFull(gathered)) {
            if (ready !== null) await flushes.turn();
            else ready = this.#take(gathered, target);
            flushes.begin();
          }
        }
        if (gathered.isWhole && gathered.hasMore) flushes.begin();
        if (target.signal.aborted) return await flushes.settled();
      }
    } finally {
      await flushes.close();
    }
  }

  #isFull({ changes, isWhole }: Gathered): boolean {
    if (changes.length < BATCH_CHANGES) return false;
    // Where columns merge, a transaction's changes of a row are one operation in every region.
    return isWhole || !changes.some(({ table }) => this.#options.shapes.get(table)?.merge != null);
  }

  async #gather(
    reader: IncomingReader,
    part: TransactionPart,
    { gathered, flushes, target }: { gathered: Gathered; flushes: Flushes; target: Target },
  ): Promise<void> {
    const { changes, emptied, messages } = reader.read(part);
    let from = 0;
    for (const one of emptied) {
      gathered.add(changes.slice(from, one.after));
      gathered.forget(one);
      await flushes.settled();
      await this.#empty(one, target);
      from = one.after;
    }
    gathered.add(changes.slice(from));
    gathered.pass(part, messages);
  }

  async #empty({ table, version }: EmptiedTable, target: Target): Promise<void> {
    const { shapes, own } = this.#options;
    const shape = shapes.get(table);
    if (shape === undefined || shape.merge !== null) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${table} was truncated there, and its columns merge, for which each row that goes is an operation. Empty it with DELETE instead, here too, and see docs/multi-leader.md.`,
      );
    }
    const { client } = target;
    this.#applied += await this.#patiently(target, (timeoutMs) =>
      applyEmptying({ client, shape, region: own.number, version }, timeoutMs),
    );
  }

  /** What was gathered, one change a row where columns do not merge, ready to be sent. */
  #take(gathered: Gathered, { applier }: Target): Taken {
    const { changes, ...rest } = gathered.take();
    const isMerging = ({ table }: IncomingChange): boolean => this.#options.shapes.get(table)?.merge != null;
    const rows = collapseChanges(changes.filter((change) => !isMerging(change))) as IncomingChange[];
    const merging = changes.filter(isMerging);
    const together = [...rows, ...merging];
    applier.prepare(together);
    return { ...rest, grants: gathered.takeGrants(this.#options.own.number), rows, merging, together };
  }

  async #flush(taken: Taken, target: Target, stream: ChangeStream): Promise<void> {
    const { client } = target;
    const { together, until, promises, decisions, shares, grants, timeUs } = taken;
    const isEmpty = together.length === 0 && grants.length === 0;
    // First: what is applied is not read again.
    await logDecisions(client, decisions);
    await noteShares(client, this.#options.source.number, shares);
    if (!isEmpty) {
      await this.#apply(target, taken);
      this.#lagMs = Math.max(0, Date.now() - timeUs / 1_000);
    }
    const isNoted = !isEmpty || (await this.#noteIdle(client, until, timeUs));
    for (const promised of promises) {
      this.#promisedAtMs = promised / 1_000;
      this.#options.onPromise(promised);
    }
    if (until > 0n && isNoted) stream.acknowledge(until);
  }

  /** Where nothing comes for this region, how far it is is noted now and then. */
  async #noteIdle(client: pg.Client, until: Lsn, timeUs: number): Promise<boolean> {
    if (until === 0n || performance.now() - this.#notedAtMs < NOTE_IDLE_EVERY_MS) return false;
    this.#notedAtMs = performance.now();
    await noteProgress(client, until, timeUs);
    return true;
  }

  async #apply(target: Target, { together, rows, merging, ...end }: Taken): Promise<void> {
    try {
      await this.#applyTogether(target, together, end, mayGoTogether);
    } catch (error) {
      if (!isGivingWay(error)) throw error;
      // Who holds one row alone is in nobody's circle, and may wait for it.
      for (const row of rows)
        await this.#applyTogether(target, [row], {
          until: 0n as Lsn,
          grants: [],
          timeUs: row.version.timeUs,
        });
      await this.#applyTogether(target, merging, end);
    }
  }

  async #applyTogether(
    target: Target,
    changes: readonly IncomingChange[],
    end: BatchEnd,
    mayGoOn: (timesGivenWay: number) => boolean = () => true,
  ): Promise<void> {
    const apply = (timeoutMs: number): Promise<BatchReport> => target.applier.apply(changes, end, timeoutMs);
    const { applied, lost } = await this.#patiently(target, apply, mayGoOn);
    this.#applied += applied;
    this.#lost += lost;
  }

  /**
   * In its turn, and again for as long as the clock is behind it or somebody else's lock in its way; `mayGoOn` says for how
   * many times of the latter.
   */
  async #patiently<T>(
    { signal, deadlockTimeoutMs }: Target,
    work: (lockTimeoutMs: number) => Promise<T>,
    mayGoOn: (timesGivenWay: number) => boolean = () => true,
  ): Promise<T> {
    for (let timesGivenWay = 0; ;) {
      try {
        const done = await this.#options.turns.run(() =>
          work(lockTimeoutMs(timesGivenWay, deadlockTimeoutMs)),
        );
        if (this.#state === 'held') this.#become('streaming', null);
        return done;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof ClockBehind) await this.#waitForClock(error.lackUs, signal);
        else if (!isGivingWay(error)) throw error;
        else {
          this.#gaveWay++;
          if (!mayGoOn(++timesGivenWay)) throw error;
        }
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

function isGivingWay(error: unknown): boolean {
  return GIVES_WAY.has((error as pg.DatabaseError).code ?? '');
}

function describe(error: unknown): string {
  const { code, message, detail } = error as pg.DatabaseError;
  if (code === '42704' || code === '42P01') return `The other region is not ready yet: ${message}.`;
  return detail === undefined ? message : `${message} (${detail})`;
}

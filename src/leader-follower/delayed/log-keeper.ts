import { join } from 'node:path';
import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import { LogArchive } from '../../postgres/log/log-archive.ts';
import { LogStream } from '../../postgres/log/log-stream.ts';
import type { LogSource } from '../../postgres/log/log-stream.ts';
import type { Clock } from '../../model/clock.ts';
import type { ServerAddress } from '../../postgres/replication-connection.ts';
import { slotName } from '../../postgres/slots.ts';
import { addArrival, oldestUnreplayedMs } from './core/arrivals.ts';
import type { Arrival } from './core/arrivals.ts';
import { decideLogStart } from './core/log-start.ts';

const RETRY_MS = 500;
/** Below the node's folder. PostgreSQL's restore_command names it from its data folder. */
export const LOG_FOLDER = 'log';

export interface LogKeeperOptions {
  readonly clock: Clock;
  readonly node: NodeId;
  /** The node's folder. */
  readonly folder: string;
  readonly account: PostgresAccount | null;
  /** Where PostgreSQL here is; null while it does not answer. */
  readonly needed: () => Promise<{ readonly timeline: Timeline; readonly lsn: Lsn } | null>;
  /** The cluster's; null while it is not known. */
  readonly systemIdentifier: () => Promise<string | null>;
  /** The archive goes on with another timeline: PostgreSQL is to read on from there. */
  readonly onTimeline: () => void;
  readonly onProblem: (problem: string) => void;
}

/** Whom to receive from. */
interface Upstream {
  readonly name: NodeId;
  readonly address: ServerAddress;
}

/**
 * Receives the leader's log for a delayed node and keeps it in `log/`, from where PostgreSQL takes it. PostgreSQL's own
 * walreceiver would not do: while it waits for the delay, nothing starts one again that has ended, so that after a
 * failover or a broken connection nothing came any more until the delay had passed. See docs/internals/delayed.md.
 */
export class LogKeeper {
  readonly #options: LogKeeperOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  /** What an earlier life left is known. */
  readonly isResumed: Promise<void>;
  #upstream: Upstream | null = null;
  #stream: LogStream | null = null;
  #streamingFrom: NodeId | null = null;
  #archive: LogArchive | null = null;
  #timeline: Timeline | null = null;
  #flushed: Lsn | null = null;
  #arrivals: readonly Arrival[] = [];
  #reset: Promise<void> | null = null;

  constructor(options: LogKeeperOptions) {
    this.#options = options;
    this.isResumed = this.#resume().catch((error: unknown) => options.onProblem((error as Error).message));
    this.#running = this.#run();
  }

  get folder(): string {
    return join(this.#options.folder, LOG_FOLDER);
  }

  /** The newest one in the archive; null while that is empty. */
  get timeline(): Timeline | null {
    return this.#timeline;
  }

  /** Up to where the log is on disk here; null while nothing is known. */
  get flushedLsn(): Lsn | null {
    return this.#flushed;
  }

  /** Null while nothing is being received. */
  get streamingFrom(): NodeId | null {
    return this.#streamingFrom;
  }

  /** Null while it is empty. */
  async archive(): Promise<LogArchive | null> {
    this.#archive ??= await LogArchive.find(this.folder, this.#options.account);
    return this.#archive;
  }

  /** Receives from this node from now on. */
  follow(name: NodeId, address: ServerAddress): void {
    const { name: before, address: at } = this.#upstream ?? {};
    this.#upstream = { name, address };
    if (before !== name || at?.host !== address.host || at.port !== address.port) this.#stream?.close();
  }

  /** How long ago the oldest log came that is not replayed yet; null when that is not known. */
  ageOf(replayed: Lsn): number | null {
    return this.#flushed === null
      ? null
      : oldestUnreplayedMs(this.#arrivals, replayed, this.#flushed, this.#options.clock.nowMs());
  }

  /** Drops log that ends before `lsn`, which PostgreSQL would not begin before after a crash. */
  async prune(lsn: Lsn): Promise<void> {
    await (await this.archive())?.prune(lsn);
  }

  /** Empties the archive: PostgreSQL's data is a new copy, to which what was kept does not lead. */
  async reset(): Promise<void> {
    const before = this.#stream;
    this.#reset = (async () => {
      before?.close();
      await (await this.archive())?.clear();
      this.#archive = null;
      this.#timeline = null;
      this.#flushed = null;
      this.#arrivals = [];
    })();
    await this.#reset;
    this.#reset = null;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#stream?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    await this.isResumed;
    while (!this.#closing.signal.aborted) {
      const upstream = this.#upstream;
      let problem: unknown = null;
      await this.#reset;
      if (upstream !== null) await this.#receive(upstream).catch((error: unknown) => (problem = error));
      if (this.#closing.signal.aborted) return;
      if (problem !== null && upstream === this.#upstream)
        this.#options.onProblem(`no log comes from ${upstream?.name}: ${(problem as Error).message}`);
      await this.#options.clock.sleep(RETRY_MS, this.#closing.signal);
    }
  }

  /** What an earlier life left: its newest segment is received again. */
  async #resume(): Promise<void> {
    const newest = await this.#newest(await this.archive());
    if (newest === null) return;
    this.#timeline = newest.history.timeline;
    this.#flushed = newest.segmentStart;
  }

  async #receive(upstream: Upstream): Promise<void> {
    const { node } = this.#options;
    const stream = await LogStream.open(upstream.address, node);
    this.#stream = stream;
    try {
      const source = await stream.identify();
      const identity = await this.#options.systemIdentifier();
      if (identity === null || identity !== source.systemIdentifier) return;
      const archive = await this.#archiveFor(source);
      for (let ended: Timeline | null = null; ;) {
        const start = decideLogStart(
          {
            newest: await this.#newest(archive),
            needed: await this.#options.needed(),
            source: source.history,
            ended,
          },
          archive.segmentBytes,
        );
        if (start.kind === 'wait' || this.#upstream !== upstream) return;
        const ancestors = source.history.ancestors.map((ancestor) => ancestor.timeline);
        if (start.cut !== null)
          await archive.cut(start.cut, new Set([...ancestors, source.history.timeline]));
        await this.#saveHistories(stream, archive, source, start.timeline);
        const { timeline, from } = start;
        const before = this.#timeline;
        this.#timeline = timeline;
        if (before !== null && before !== timeline) this.#options.onTimeline();
        this.#streamingFrom = upstream.name;
        await stream.stream({
          slot: slotName(node),
          timeline,
          from,
          sink: {
            write: (lsn, bytes) => archive.write(timeline, lsn, bytes),
            flush: async () => this.#flush(archive, from),
          },
        });
        // It went on with another timeline, or ended: either is seen at the next look.
        if (timeline === source.history.timeline) return;
        ended = timeline;
      }
    } finally {
      this.#streamingFrom = null;
      this.#stream = null;
      stream.close();
      await this.#archive?.close();
    }
  }

  async #flush(archive: LogArchive, from: Lsn): Promise<Lsn> {
    const written = await archive.flush();
    const lsn = written > from ? written : from;
    this.#flushed = lsn;
    const needed = await this.#options.needed().catch(() => null);
    this.#arrivals = addArrival(
      this.#arrivals,
      { lsn, atMs: this.#options.clock.nowMs() },
      needed?.lsn ?? null,
    );
    return lsn;
  }

  async #archiveFor(source: LogSource): Promise<LogArchive> {
    const found = await this.archive();
    if (found !== null) return found;
    this.#archive = new LogArchive(this.folder, this.#options.account, source.segmentBytes);
    await this.#archive.create();
    return this.#archive;
  }

  /** PostgreSQL needs the history of each timeline that it goes over to. */
  async #saveHistories(
    stream: LogStream,
    archive: LogArchive,
    source: LogSource,
    timeline: Timeline,
  ): Promise<void> {
    if (timeline === source.history.timeline) await archive.saveHistory(timeline, source.historyText);
    else if (timeline > 1) await archive.saveHistory(timeline, await stream.historyOf(timeline));
  }

  async #newest(
    archive: LogArchive | null,
  ): Promise<{ readonly history: TimelineHistory; readonly segmentStart: Lsn } | null> {
    const segment = (await archive?.segments())
      ?.toSorted((a, b) => a.timeline - b.timeline || (a.startLsn < b.startLsn ? -1 : 1))
      ?.at(-1);
    if (segment === undefined) return null;
    const history = (await archive?.history(segment.timeline)) ?? null;
    return history === null ? null : { history, segmentStart: segment.startLsn };
  }
}

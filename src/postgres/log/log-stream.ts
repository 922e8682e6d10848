import { every } from '../../clock/every.ts';
import { machineClock } from '../../clock/machine-clock.ts';
import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { parseTimeline, parseTimelineHistory } from '../../model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';
import { SCRAM_ONLY } from '../../wire/core/auth-guard.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';
import type { GuardedClientConfig } from '../../wire/guarded-client.ts';
import { dropConnection } from '../replication-connection.ts';
import type { ServerAddress } from '../replication-connection.ts';

/** How often the source is told what is on disk; it would give up after `wal_sender_timeout`, 5 s here. */
const STATUS_MS = 1_000;
/** The source says something at least every half of that. */
const SILENT_AFTER_MS = 10_000;
/** PostgreSQL counts microseconds from 2000-01-01. */
const POSTGRES_EPOCH_MS = 946_684_800_000;

/** What a source says of itself before it streams. */
export interface LogSource {
  readonly systemIdentifier: string;
  readonly history: TimelineHistory;
  /** Of the timeline's history file; empty for the first timeline, which has none. */
  readonly historyText: string;
  readonly segmentBytes: number;
}

/** Takes what is streamed. */
export interface LogSink {
  /** To be settled before more is taken. */
  write(lsn: Lsn, bytes: Buffer): Promise<void>;
  /** Makes what was written durable, and tells up to where it is. */
  flush(): Promise<Lsn>;
}

interface WireConnection {
  readonly stream: { pause(): void; resume(): void; destroy(error?: Error): void };
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  on(event: 'copyDone', listener: () => void): void;
}

/**
 * A connection that streams the write-ahead log of a running server, as a follower's own walreceiver does; `name` is
 * what pg_stat_replication shows. Source: PostgreSQL documentation, "Streaming Replication Protocol".
 */
export class LogStream {
  readonly #client: pg.Client;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  static async open(address: ServerAddress, name: string): Promise<LogStream> {
    const options: GuardedClientConfig & { replication: string } = {
      requireAuth: SCRAM_ONLY,
      ...address,
      database: 'postgres',
      application_name: name,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      replication: 'true',
    };
    const client = new GuardedClient(options);
    client.on('error', () => undefined);
    await client.connect();
    return new LogStream(client);
  }

  async identify(): Promise<LogSource> {
    const { rows } = await this.#client.query<{ systemid: string; timeline: number }>('IDENTIFY_SYSTEM');
    const found = rows[0];
    if (found === undefined) throw new Error('the source did not identify itself');
    const timeline = parseTimeline(Number(found.timeline));
    const size = await this.#client.query<{ wal_segment_size: string }>('SHOW wal_segment_size');
    const historyText = timeline === 1 ? '' : await this.historyOf(timeline);
    return {
      systemIdentifier: found.systemid,
      history: parseTimelineHistory(timeline, historyText),
      historyText,
      segmentBytes: parseSize(size.rows[0]?.wal_segment_size ?? ''),
    };
  }

  /** The text of a timeline's history file. */
  async historyOf(timeline: Timeline): Promise<string> {
    const { rows } = await this.#client.query<{ content: Buffer | string }>(`TIMELINE_HISTORY ${timeline}`);
    return String(rows[0]?.content ?? '');
  }

  /**
   * Streams one timeline from `from` on, until it ends there (resolves) or something breaks (rejects). `slot` keeps at
   * the source what is not flushed here.
   */
  stream(options: {
    readonly slot: string;
    readonly timeline: Timeline;
    readonly from: Lsn;
    readonly sink: LogSink;
  }): Promise<void> {
    const { slot, timeline, from, sink } = options;
    const text = `START_REPLICATION SLOT ${slot} PHYSICAL ${formatLsn(from)} TIMELINE ${timeline}`;
    return new Promise((resolve, reject) => {
      const connection = (this.#client as unknown as { connection: WireConnection }).connection;
      const exchange = new Exchange(connection, sink, from);
      const settle = (error: unknown): void => {
        exchange.end();
        if (error === null) resolve();
        else reject(error as Error);
      };
      exchange.onFailure = settle;
      connection.on('copyDone', () => void exchange.finish());
      this.#client.once('end', () => settle(new Error('the source closed the connection')));
      let failure: unknown = null;
      const query = {
        submit: (wire: WireConnection) => wire.query(text),
        handleRowDescription: () => undefined,
        handleDataRow: () => undefined,
        handleCopyData: ({ chunk }: { chunk: Buffer }) => exchange.take(chunk),
        handleCommandComplete: () => undefined,
        handleEmptyQuery: () => undefined,
        handleError: (error: Error) => {
          failure ??= error;
          settle(failure);
        },
        handleReadyForQuery: () => settle(failure),
      };
      this.#client.query(query as unknown as pg.Submittable);
    });
  }

  close(): void {
    dropConnection(this.#client);
  }
}

/** The messages of one stream, in both directions. */
class Exchange {
  readonly #connection: WireConnection;
  readonly #sink: LogSink;
  readonly #endKeepAlive: () => void;
  #written: Lsn;
  #flushed: Lsn;
  #queued = 0;
  #pending: Promise<void> = Promise.resolve();
  #heardAtMs = machineClock.nowMs();
  #hasEnded = false;
  onFailure: (error: unknown) => void = () => undefined;

  constructor(connection: WireConnection, sink: LogSink, from: Lsn) {
    this.#connection = connection;
    this.#sink = sink;
    this.#written = from;
    this.#flushed = from;
    this.#endKeepAlive = every(machineClock, STATUS_MS, () => this.#keepAlive());
  }

  /** XLogData begins with `w` and two positions and a time of 8 bytes each; a keepalive (`k`) may ask for an answer. */
  take(message: Buffer): void {
    this.#heardAtMs = machineClock.nowMs();
    const kind = message[0];
    if (kind === 0x6b) {
      if (message[17] === 1) void this.#queue(() => this.#report());
      return;
    }
    if (kind !== 0x77) return;
    const lsn = message.readBigUInt64BE(1) as Lsn;
    // The parser reuses its buffer as soon as this returns.
    const bytes = Buffer.from(message.subarray(25));
    void this.#queue(async () => {
      await this.#sink.write(lsn, bytes);
      this.#written = (lsn + BigInt(bytes.length)) as Lsn;
    });
  }

  /** The timeline has ended at the source: everything is written, and the copy ends from here as well. */
  async finish(): Promise<void> {
    await this.#queue(() => this.#report());
    if (!this.#hasEnded) this.#connection.endCopyFrom();
  }

  end(): void {
    this.#hasEnded = true;
    this.#endKeepAlive();
  }

  #queue(task: () => Promise<void>): Promise<void> {
    this.#connection.stream.pause();
    this.#queued++;
    this.#pending = this.#pending
      .then(() => (this.#hasEnded ? undefined : task()))
      .catch((error: unknown) => {
        this.onFailure(error);
        this.#connection.stream.destroy();
      })
      .then(() => {
        this.#queued--;
        if (this.#queued === 0) this.#connection.stream.resume();
      });
    return this.#pending;
  }

  #keepAlive(): void {
    if (machineClock.nowMs() - this.#heardAtMs > SILENT_AFTER_MS) {
      this.onFailure(new Error(`the source has said nothing for ${SILENT_AFTER_MS / 1_000} s`));
      this.#connection.stream.destroy();
      return;
    }
    void this.#queue(() => this.#report());
  }

  /** A standby status update: written, flushed, applied (not told), the time, and no answer asked for. */
  async #report(): Promise<void> {
    this.#flushed = await this.#sink.flush();
    const message = Buffer.alloc(34);
    message[0] = 0x72;
    message.writeBigUInt64BE(this.#written, 1);
    message.writeBigUInt64BE(this.#flushed, 9);
    message.writeBigUInt64BE(0n, 17);
    message.writeBigInt64BE(BigInt(Date.now() - POSTGRES_EPOCH_MS) * 1_000n, 25);
    if (!this.#hasEnded) this.#connection.sendCopyFromChunk(message);
  }
}

/** PostgreSQL's text for a size: `4MB`, `1GB`. */
function parseSize(text: string): number {
  const match = /^(\d+)(kB|MB|GB)$/.exec(text);
  const bytes = { kB: 1_024, MB: 1_048_576, GB: 1_073_741_824 }[match?.[2] ?? ''];
  if (match === null || bytes === undefined) throw new Error(`the source says its segments have "${text}"`);
  return Number(match[1]) * bytes;
}

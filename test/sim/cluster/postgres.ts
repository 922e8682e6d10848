import type { NodeId } from '../../../src/model/node.ts';
import { nextTimeline } from '../../../src/model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../../src/model/timeline.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { Host } from './host.ts';
import { SyncSettings } from './sync-settings.ts';
import { FIRST_TIMELINE, isInHistory } from './wal.ts';
import type { Batch, Durability, Entry, Receiver, Surroundings, WalSender } from './wal.ts';
import { WaitingCommits } from './waiting-commits.ts';

type Mode = 'stopped' | 'starting' | 'follower' | 'promoting' | 'leader' | 'stopping';

const KEEPALIVE_MS = 100;
const RECEIVER_TIMEOUT_MS = 1_000;
const SENDER_TIMEOUT_MS = 1_500;
const MAX_BATCH = 64;

/**
 * PostgreSQL as far as replication goes: a log that is written, flushed and streamed, timelines that fork at a
 * promotion, commits that wait for `ANY k` of the names. Its own checks count too: a server streams only to
 * a follower whose timeline, by number, is in its history at that position.
 */
export class ModelPostgres {
  readonly host: Host;
  readonly #world: Surroundings;
  hasData = false;
  log: Entry[] = [];
  /** What a crash leaves for sure. */
  flushed = 0;
  /** Of every history file that it ever saw. */
  newestTimeline: Timeline = FIRST_TIMELINE.timeline;
  mode: Mode = 'stopped';
  following: NodeId | null = null;
  stalledSinceMs: number | null = null;
  /** What commits wait for. */
  readonly sync: SyncSettings;
  onExit: () => void = () => undefined;
  /** All of its log is on its disk, and it wrote no more. */
  hasEndedInOrder = false;
  #replayedAtMs = 0;
  #receiver: Receiver | null = null;
  #endingReceivers = 0;
  #senders = new Map<number, WalSender>();
  readonly #commits: WaitingCommits;
  #isFlushing = false;
  #onStarted: ((isStarted: boolean) => void) | null = null;
  #sessions = 0;

  constructor(host: Host, world: Surroundings) {
    this.host = host;
    this.#world = world;
    this.#commits = new WaitingCommits(this, world);
    this.sync = new SyncSettings(host, () => this.#commits.release());
  }

  get history(): TimelineHistory {
    return this.log.at(-1)?.history ?? FIRST_TIMELINE;
  }

  /**
   * What a session is told of how far it is. PostgreSQL, "Recovery Information Functions": `pg_last_wal_receive_lsn` is what was
   * received *and synced to disk*, and no more than that is replayed.
   */
  get shownLsn(): Lsn {
    return BigInt(this.flushed) as Lsn;
  }

  get isRunning(): boolean {
    return this.mode !== 'stopped';
  }

  get isReceiving(): boolean {
    return this.#receiver?.isStreaming === true;
  }

  get hasReceiver(): boolean {
    return this.#receiver !== null || this.#endingReceivers > 0;
  }

  get isAtLogEnd(): boolean {
    return this.host.time.nowMs() >= this.#replayedAtMs;
  }

  /** As pg_stat_replication shows it. */
  get followers(): readonly {
    readonly index: number;
    readonly flushed: number;
    readonly isStreaming: boolean;
  }[] {
    for (const [index, { heardAtMs }] of this.#senders)
      if (this.host.time.nowMs() - heardAtMs > SENDER_TIMEOUT_MS) this.#senders.delete(index);
    return [...this.#senders].map(([index, { flushed }]) => ({
      index,
      flushed,
      isStreaming: flushed >= this.flushed - 8,
    }));
  }

  /** How far that follower said that it has flushed; undefined while it does not stream from here. */
  flushedAt(follower: ModelPostgres): number | undefined {
    return this.#senders.get(follower.host.index)?.flushed;
  }

  /** May acknowledge right now. */
  get isWritable(): boolean {
    return this.mode === 'leader' && this.host.postgres.isRunning;
  }

  createData(): void {
    this.log = [{ id: this.#world.nextEntryId(), history: FIRST_TIMELINE }];
    this.flushed = 1;
    this.newestTimeline = FIRST_TIMELINE.timeline;
    this.hasData = true;
  }

  replaceData(log: readonly Entry[], newestTimeline: Timeline): void {
    this.log = [...log];
    this.flushed = log.length;
    this.newestTimeline = newestTimeline;
    this.hasData = true;
  }

  /** Starts as a follower of nobody, or of whom it was rewound to. */
  start(done: (isStarted: boolean) => void): void {
    const { host } = this;
    if (!this.hasData || this.mode !== 'stopped') return done(false);
    host.postgres.begin();
    this.hasEndedInOrder = false;
    this.mode = 'starting';
    this.following = null;
    this.sync.forget();
    this.#onStarted = done;
    host.after(host.postgres, host.between(30, 150), () => {
      if (host.isDiskFull) return this.kill('no space on its disk');
      this.mode = 'follower';
      this.#replayedAtMs = host.time.nowMs() + host.between(5, 100);
      this.#tellStarted(true);
    });
  }

  #tellStarted(isStarted: boolean): void {
    const tell = this.#onStarted;
    this.#onStarted = null;
    tell?.(isStarted);
  }

  /** A crash, or an immediate stop: the log keeps what was flushed, and by chance some of the rest. */
  kill(reason: string): void {
    if (this.mode === 'stopped') return;
    this.#world.listener.onNote(this.host, () => `PostgreSQL ended: ${reason}`);
    const kept = this.flushed + Math.floor(this.host.random() * (this.log.length - this.flushed + 1));
    this.log.length = kept;
    this.flushed = kept;
    this.#end();
  }

  #end(): void {
    this.mode = 'stopped';
    this.following = null;
    this.stalledSinceMs = null;
    this.#receiver = null;
    this.#endingReceivers = 0;
    this.#senders.clear();
    this.#commits.clear();
    this.#isFlushing = false;
    this.host.postgres.end();
    this.#tellStarted(false);
    this.onExit();
  }

  /** A fast stop: nothing new, what is written is shipped to who streams, and then it ends. */
  stopFast(done: () => void): void {
    const { host } = this;
    if (this.mode === 'stopped') return done();
    this.mode = 'stopping';
    const giveUpAtMs = host.time.nowMs() + 1_000;
    const { life } = host.postgres;
    const look = (): void => {
      const isShipped = [...this.#senders.values()].every(({ flushed }) => flushed >= this.log.length);
      if ((!isShipped || this.flushed < this.log.length) && host.time.nowMs() < giveUpAtMs) {
        this.#flush();
        return host.after(host.postgres, 10, look);
      }
      if (host.isDiskFull || host.isDiskHung) return this.kill('it could not write its shutdown checkpoint');
      this.flushed = this.log.length;
      this.hasEndedInOrder = true;
      this.#end();
    };
    host.after(host.postgres, host.between(5, 60), look);
    // Whoever waits for the stop learns of the end whatever ended it.
    const wait = (): void => {
      if (host.postgres.life !== life || this.mode === 'stopped') return done();
      if (host.time.nowMs() > giveUpAtMs + 7_000) this.kill('a fast stop took too long');
      host.after(host.agent, 10, wait);
    };
    wait();
  }

  follow(name: NodeId): void {
    if (this.mode !== 'follower') return;
    this.following = name;
    this.stalledSinceMs = this.host.nowMs();
    this.#connect();
  }

  /** Stops receiving; `done` when the walreceiver is gone. */
  detach(): void {
    this.following = null;
    this.stalledSinceMs = null;
    const receiver = this.#receiver;
    if (receiver === null || this.#endingReceivers > 0) return;
    this.#endingReceivers++;
    const end = (): void => {
      // Its last sync waits for the disk.
      if (this.host.isDiskHung) return this.host.after(this.host.postgres, 20, end);
      this.#endingReceivers--;
      this.#receiver = null;
      const { source, session } = receiver;
      this.#send(source, () => source.#forget(this.host.index, session));
      this.#flushNow();
    };
    this.host.after(this.host.postgres, this.host.between(1, 15), end);
  }

  promote(names: readonly NodeId[], required: number): void {
    const { host } = this;
    if (this.mode !== 'follower') return;
    this.detach();
    this.sync.startWith({ names, required });
    this.mode = 'promoting';
    let timeline: Timeline | null = null;
    const finish = (): void => {
      if (this.mode !== 'promoting') return;
      if (host.isDiskHung || this.hasReceiver) return host.after(host.postgres, 10, finish);
      if (host.isDiskFull) return this.kill('no space on its disk');
      const parent = this.history;
      const forkedAt = BigInt(this.log.length) as Lsn;
      if (timeline === null) {
        // Its history file is on the disk before anything else of it, and stays there when the promotion breaks off.
        timeline = nextTimeline(this.newestTimeline);
        this.newestTimeline = timeline;
        return host.after(host.postgres, host.between(1, 60), finish);
      }
      const history = {
        timeline,
        ancestors: [...parent.ancestors, { timeline: parent.timeline, forkedAt }],
      };
      this.log.push({ id: this.#world.nextEntryId(), history });
      this.flushed = this.log.length;
      this.mode = 'leader';
      this.#world.listener.onPromoted(this);
      for (const index of this.#senders.keys()) this.#ship(index);
    };
    host.after(host.postgres, host.between(2, 60), finish);
  }

  /** A client commits; false when it is not accepted. */
  commit(durability: Durability): boolean {
    if (this.mode !== 'leader') return false;
    this.log.push({ id: this.#world.nextEntryId(), history: this.history });
    this.#commits.add(this.log.length, durability);
    this.#flush();
    return true;
  }

  #flush(): void {
    if (this.#isFlushing || this.flushed >= this.log.length) return;
    this.#isFlushing = true;
    const upTo = this.log.length;
    const { host } = this;
    const finish = (): void => {
      if (host.isDiskHung) return host.after(host.postgres, 20, finish);
      this.#isFlushing = false;
      if (host.isDiskFull) return this.kill('no space on its disk');
      this.flushed = Math.max(this.flushed, Math.min(upTo, this.log.length));
      for (const index of this.#senders.keys()) this.#ship(index);
      this.#acknowledgeFlush();
      this.#commits.release();
      this.#flush();
    };
    host.after(host.postgres, host.between(0.3, 2), finish);
  }

  /** On its way out the walreceiver syncs what it wrote. */
  #flushNow(): void {
    if (this.host.isDiskHung) return this.#flush();
    if (this.host.isDiskFull) return this.kill('no space on its disk');
    this.flushed = this.log.length;
  }

  #send(to: ModelPostgres, run: () => void): void {
    this.#world.network.send(this.host, to.host, to.host.postgres, run);
  }

  /** The walreceiver asks for the log from its end on, and asks again while nothing comes. */
  #connect(): void {
    const { following, host } = this;
    if (this.mode !== 'follower' || following === null || this.hasReceiver) return;
    const source = this.#world.serverOf(following);
    const receiver: Receiver = {
      session: ++this.#sessions,
      source,
      isStreaming: false,
      heardAtMs: host.time.nowMs(),
    };
    this.#receiver = receiver;
    const { timeline } = this.history;
    const from = this.log.length;
    this.#send(source, () => source.#accept(this, receiver.session, timeline, from));
    host.after(host.postgres, KEEPALIVE_MS, () => this.#keepAlive(receiver));
  }

  #keepAlive(receiver: Receiver): void {
    const { host } = this;
    if (this.#receiver !== receiver || this.#endingReceivers > 0) return;
    if (host.time.nowMs() - receiver.heardAtMs > RECEIVER_TIMEOUT_MS) {
      this.#receiver = null;
      this.#flushNow();
      if (this.following !== null) this.stalledSinceMs ??= host.nowMs();
      return this.#connect();
    }
    if (receiver.isStreaming) this.#tellFlushed(receiver);
    host.after(host.postgres, KEEPALIVE_MS, () => this.#keepAlive(receiver));
  }

  /** START_REPLICATION. */
  #accept(follower: ModelPostgres, session: number, timeline: Timeline, from: number): void {
    // A follower sends on what it has, also while it is promoted, and whoever attached follows it over the fork.
    const isServing = this.mode === 'leader' || this.mode === 'follower' || this.mode === 'promoting';
    // PostgreSQL's own check: "requested starting point ... is not in this server's history".
    if (!isServing || !isInHistory(this.history, timeline, from)) return;
    if (from > this.flushed) return;
    const heardAtMs = this.host.time.nowMs();
    this.#senders.set(follower.host.index, { session, flushed: 0, sent: from, heardAtMs, follower });
    this.#ship(follower.host.index);
  }

  #forget(index: number, session: number): void {
    if (this.#senders.get(index)?.session === session) this.#senders.delete(index);
  }

  /** Sends what is flushed here and was not sent; an empty batch keeps the connection alive. */
  #ship(index: number, from: number | null = null): void {
    const sender = this.#senders.get(index);
    if (sender === undefined) return;
    const { follower } = sender;
    const start = from ?? sender.sent;
    const entries = this.log.slice(start, Math.min(this.flushed, start + MAX_BATCH));
    sender.sent = Math.max(sender.sent, start + entries.length);
    const batch: Batch = { start, entries, newestTimeline: this.newestTimeline };
    const { session } = sender;
    this.#send(follower, () => follower.#receive(this, session, batch));
  }

  #receive(source: ModelPostgres, session: number, { start, entries, newestTimeline }: Batch): void {
    const receiver = this.#receiver;
    if (receiver === null || receiver.session !== session || receiver.source !== source) return;
    if (this.mode !== 'follower') return;
    receiver.heardAtMs = this.host.time.nowMs();
    if (!receiver.isStreaming) {
      receiver.isStreaming = true;
      this.stalledSinceMs = null;
      this.#world.listener.onStreaming(this, source);
    }
    if (newestTimeline > this.newestTimeline) this.newestTimeline = newestTimeline;
    const known = this.log.length - start;
    if (known < 0 || known >= entries.length) return;
    for (let index = known; index < entries.length; index++) this.log.push(entries[index]!);
    this.#flush();
  }

  #acknowledgeFlush(): void {
    if (this.mode === 'follower' && this.#receiver?.isStreaming === true) this.#tellFlushed(this.#receiver);
  }

  #tellFlushed(receiver: Receiver): void {
    const { source, session } = receiver;
    const { flushed, host } = this;
    const written = this.log.length;
    this.#send(source, () => source.#hear(host.index, session, flushed, written));
  }

  #hear(index: number, session: number, flushed: number, written: number): void {
    const sender = this.#senders.get(index);
    if (sender === undefined || sender.session !== session) return;
    sender.heardAtMs = this.host.time.nowMs();
    sender.flushed = Math.max(sender.flushed, flushed);
    this.#commits.release();
    this.#ship(index, written < sender.sent && written < this.flushed ? written : null);
  }
}

import type { NodeId } from '../../../src/model/node.ts';
import type { LocalPostgres } from '../../../src/leader-follower/core/view.ts';
import type { Timeline, TimelineHistory } from '../../../src/model/timeline.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { Host } from './host.ts';
import type { Network } from './network.ts';
import type { ModelPostgres } from './postgres.ts';
import type { Entry } from './wal.ts';
import type { MutantName } from './rules.ts';
import { POSITION_TIMEOUT_MS, PROBE_TIMEOUT_MS } from '../../../src/leader-follower/patience.ts';
import type { ModelWatchdog } from './watchdog.ts';

export interface FencedEnd {
  readonly history: TimelineHistory;
  readonly receivedLsn: Lsn;
  readonly newestTimeline: Timeline;
  /** For the checker alone: what lies there. */
  readonly end: Entry | undefined;
}

const POLL_MS = 5;

/** What an agent does to its PostgreSQL; changes run one after the other, and end with the agent's process. */
export class ModelLocalNode {
  readonly #host: Host;
  readonly #network: Network;
  readonly #server: ModelPostgres;
  readonly #watchdog: ModelWatchdog;
  readonly #mutant: MutantName | null;
  #queue: (() => void)[] = [];
  #isBusy = false;

  constructor(
    host: Host,
    network: Network,
    server: ModelPostgres,
    watchdog: ModelWatchdog,
    mutant: MutantName | null,
  ) {
    this.#host = host;
    this.#network = network;
    this.#server = server;
    this.#watchdog = watchdog;
    this.#mutant = mutant;
  }

  /** What a probe sees: null while PostgreSQL runs and does not answer. */
  probe(done: (local: LocalPostgres) => void): void {
    const server = this.#server;
    if (!server.hasData) return done({ kind: 'absent' });
    if (!server.isRunning) return done({ kind: 'stopped' });
    if (!this.#host.postgres.isRunning || server.mode === 'starting' || server.mode === 'stopping') {
      const isAnswering = (): void =>
        done(this.#host.postgres.isRunning ? this.#look() : { kind: 'silent', isSuspended: false });
      return this.#after(this.#host.postgres.isRunning ? 20 : PROBE_TIMEOUT_MS, isAnswering);
    }
    this.#after(this.#host.between(0.5, 3), () => done(this.#look()));
  }

  #look(): LocalPostgres {
    const server = this.#server;
    const receivedLsn = server.shownLsn;
    if (!server.hasData) return { kind: 'absent' };
    if (!server.isRunning) return { kind: 'stopped' };
    if (server.mode === 'leader')
      return { kind: 'leader', history: server.history, flushLsn: server.shownLsn };
    if (server.mode !== 'follower' && server.mode !== 'promoting')
      return { kind: 'silent', isSuspended: false };
    return {
      kind: 'follower',
      history: server.history,
      receivedLsn,
      replayedLsn: server.isAtLogEnd ? receivedLsn : (0n as Lsn),
      endLsn: server.isAtLogEnd && !server.hasReceiver ? receivedLsn : null,
      following: server.following,
      isReceiving: server.isReceiving,
      tooLowSettings: null,
      stalledForMs: server.stalledSinceMs === null ? 0 : this.#host.nowMs() - server.stalledSinceMs,
    };
  }

  start(done: (isDone: boolean) => void): void {
    this.#change(done, (end) => {
      this.#watchdog.begin();
      this.#server.start((isStarted) => end(isStarted));
    });
  }

  detach(done: () => void): void {
    this.#change<void>(done, (end) => {
      this.#server.detach();
      this.#until(() => !this.#server.hasReceiver, POSITION_TIMEOUT_MS, end);
    });
  }

  follow(name: NodeId, done: () => void): void {
    this.#change<void>(done, (end) => {
      this.#watchdog.set(null);
      this.#server.follow(name);
      this.#after(1, end);
    });
  }

  /** Cuts this node off from any leader and tells where its log ends. */
  fencedPosition(done: (position: FencedEnd | null) => void): void {
    this.#change<FencedEnd | null>(done, (end) => {
      const server = this.#server;
      if (!server.isRunning) return end(null);
      const isCutOff = this.#mutant !== 'no-cut-off';
      if (isCutOff) server.detach();
      const isKnown = (): boolean =>
        this.#host.postgres.isRunning &&
        (server.mode !== 'follower' || ((!server.hasReceiver || !isCutOff) && server.isAtLogEnd));
      this.#until(isKnown, POSITION_TIMEOUT_MS, () => {
        if (!isKnown() || server.mode !== 'follower') return end(null);
        const receivedLsn = server.shownLsn;
        const { history, newestTimeline } = server;
        end({ history, receivedLsn, newestTimeline, end: server.log.at(-1) });
      });
    });
  }

  promote(names: readonly NodeId[], required: number, done: (isDone: boolean) => void): void {
    this.#change(done, (end) => {
      this.#watchdog.tellAgain();
      this.#server.promote(names, required);
      const isOver = (): boolean => this.#server.mode !== 'promoting' && this.#server.mode !== 'follower';
      this.#until(isOver, 60_000, () => end(this.#server.mode === 'leader'));
    });
  }

  setNames(names: readonly NodeId[], required: number, done: () => void): void {
    this.#change<void>(done, (end) => {
      this.#server.sync.reload({ names, required });
      this.#after(2, end);
    });
  }

  stop(mode: 'fast' | 'immediate', done: () => void): void {
    this.#change<void>(done, (end) => {
      if (mode === 'fast') return this.#server.stopFast(end);
      this.#server.kill('an immediate stop');
      this.#after(1, end);
    });
  }

  /** The old data stays until the copy is whole; a copy of whom no longer leads `isWanted` is not taken. */
  clone(source: ModelPostgres, isWanted: () => boolean, done: (isDone: boolean) => void): void {
    this.#change(done, (end) => {
      if (!this.#canRead(source)) return this.#after(300, () => end(false));
      this.#after(this.#host.between(200, 1_500), () => {
        if (!this.#canRead(source) || !isWanted() || this.#host.isDiskFull) return end(false);
        const log = source.log.slice(0, source.flushed);
        const { newestTimeline } = source;
        this.#server.stopFast(() => {
          this.#server.replaceData(log, newestTimeline);
          end(true);
        });
      });
    });
  }

  /** Undoes what the source has not, and starts attached to it. A folder that is half rewound is none. */
  rewind(source: ModelPostgres, done: (isDone: boolean) => void): void {
    this.#change(done, (end) => {
      this.#server.stopFast(() => {
        this.#server.hasData = false;
        if (!this.#canRead(source)) return this.#after(100, () => end(false));
        this.#after(this.#host.between(50, 500), () => {
          if (!this.#canRead(source) || this.#host.isDiskFull) return end(false);
          this.#server.replaceData(source.log.slice(0, source.flushed), source.newestTimeline);
          this.#watchdog.begin();
          this.#server.start((isStarted) => {
            if (isStarted) this.#server.follow(source.host.name);
            end(isStarted);
          });
        });
      });
    });
  }

  #canRead(source: ModelPostgres): boolean {
    const isReached =
      !this.#network.isCut(this.#host, source.host) && !this.#network.isCut(source.host, this.#host);
    return isReached && !source.host.isDown && source.isWritable;
  }

  #until(isSo: () => boolean, timeoutMs: number, done: () => void): void {
    const deadline = this.#host.nowMs() + timeoutMs;
    const look = (): void => {
      if (isSo() || this.#host.nowMs() >= deadline) done();
      else this.#after(POLL_MS, look);
    };
    look();
  }

  #after(ms: number, run: () => void): void {
    this.#host.after(this.#host.agent, ms, run);
  }

  #change<T>(done: (result: T) => void, task: (end: (result: T) => void) => void): void {
    const { life } = this.#host.agent;
    const start = (): void => {
      this.#isBusy = true;
      task((result) => {
        // Of what PostgreSQL ends after its agent's end, nobody hears.
        this.#host.agent.deliver(life, () => {
          this.#isBusy = false;
          this.#queue.shift()?.();
          done(result);
        });
      });
    };
    if (this.#isBusy) this.#queue.push(start);
    else start();
  }
}

import {
  DEFAULT_CALL_TIMEOUT_MS,
  DEFAULT_MESSAGE_TIMEOUT_MS,
  PEEK_ATTEMPTS,
  PEEK_SHARE,
} from '../../../src/coordination/embedded/embedded.ts';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type {
  AcceptorState,
  ConsensusMessage,
  ConsensusReply,
  VersionedValue,
} from '../../../src/consensus/acceptor.ts';
import { compareBallots } from '../../../src/consensus/ballot.ts';
import { changeOf, judgeCompareAndSet } from '../../../src/consensus/compare-and-set.ts';
import type { CompareAndSet } from '../../../src/consensus/compare-and-set.ts';
import { majority, startRound, stepRound } from '../../../src/consensus/proposer.ts';
import type { Change, Round } from '../../../src/consensus/proposer.ts';
import { decidePeek } from '../../../src/consensus/read.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import type { Host } from './host.ts';
import type { MutantName } from './rules.ts';

export interface KnownRegister {
  readonly version: number;
  readonly state: ClusterState | null;
}

export type CasResult =
  { readonly kind: 'applied' | 'conflict'; readonly register: KnownRegister } | { readonly kind: 'unknown' };

export interface AcceptorListener {
  /** The acceptor has that on its disk. */
  readonly onDurable: (host: Host, state: AcceptorState) => void;
}

const KEY = 'cluster';

/** The acceptor of one agent over a disk that may be slow, hang, be full, or lose what was not synced. */
export class ModelAcceptor {
  readonly #host: Host;
  readonly #mutant: MutantName | null;
  readonly #listener: AcceptorListener;
  #disk: AcceptorState = EMPTY_ACCEPTOR;
  #memory: AcceptorState = EMPTY_ACCEPTOR;
  #writing: AcceptorState | null = null;
  #waiting: (() => void)[] = [];
  /** Accepted since the last write began. One write may carry several, each of which counts as accepted. */
  #accepted: AcceptorState[] = [];

  constructor(host: Host, mutant: MutantName | null, listener: AcceptorListener) {
    this.#host = host;
    this.#mutant = mutant;
    this.#listener = listener;
  }

  /** Puts a state on the disk before anything runs. */
  install(state: AcceptorState): void {
    this.#disk = state;
    this.#memory = state;
    this.#listener.onDurable(this.#host, state);
  }

  handle(message: ConsensusMessage, answer: (reply: ConsensusReply) => void): void {
    const step = this.#step(message);
    this.#memory = step.state;
    if (step.reply.kind === 'accepted') this.#accepted.push(step.state);
    if (this.#mutant === 'lazy-fsync') answer(step.reply);
    // Also a reject or a peek tells of state that must not be forgotten once it was told.
    if (this.#memory === this.#disk) {
      if (this.#mutant !== 'lazy-fsync') answer(step.reply);
      return;
    }
    this.#waiting.push(() => this.#mutant !== 'lazy-fsync' && answer(step.reply));
    if (this.#writing === null) this.#write();
  }

  #step(message: ConsensusMessage): ReturnType<typeof stepAcceptor> {
    const isRepeated =
      this.#mutant === 'ballot-reuse' &&
      message.kind === 'prepare' &&
      compareBallots(message.ballot, this.#memory.promised) === 0;
    if (!isRepeated) return stepAcceptor(this.#memory, message);
    const { acceptedBallot, accepted } = this.#memory;
    return { state: this.#memory, reply: { kind: 'promise', acceptedBallot, accepted } };
  }

  #write(): void {
    const host = this.#host;
    const snapshot = this.#memory;
    const waiting = this.#waiting;
    const accepted = this.#accepted;
    this.#waiting = [];
    this.#accepted = [];
    this.#writing = snapshot;
    const lateness = this.#mutant === 'lazy-fsync' ? host.between(20, 400) : 0;
    host.after(host.agent, host.between(0.3, 3) + lateness, () => this.#finish(snapshot, accepted, waiting));
  }

  #finish(
    snapshot: AcceptorState,
    accepted: readonly AcceptorState[],
    waiting: readonly (() => void)[],
  ): void {
    const host = this.#host;
    if (host.isDiskHung) return host.after(host.agent, 20, () => this.#finish(snapshot, accepted, waiting));
    this.#writing = null;
    // What failed is written again with the next message; nothing is answered before a write succeeds.
    if (host.isDiskFull) this.#accepted.unshift(...accepted);
    else {
      this.#disk = snapshot;
      for (const state of accepted) this.#listener.onDurable(host, state);
      for (const done of waiting) done();
    }
    if (this.#waiting.length > 0) this.#write();
  }

  /** The process is gone. A write under way may have reached the disk, and its reply is lost then. */
  crash(): void {
    if (this.#writing !== null && this.#host.random() < 0.5 && !this.#host.isDiskFull) {
      this.#disk = this.#writing;
      this.#listener.onDurable(this.#host, this.#disk);
    }
    this.#memory = this.#disk;
    this.#writing = null;
    this.#waiting = [];
    this.#accepted = [];
  }
}

export interface RegisterLinks {
  readonly host: Host;
  readonly voters: number;
  readonly mutant: MutantName | null;
  readonly proposerId: string;
  /** Carries a message to a voter's acceptor; the answer comes at most once, or never. */
  readonly send: (voter: number, message: ConsensusMessage, answer: (reply: ConsensusReply) => void) => void;
  readonly onCommitted: (
    kind: 'read' | 'applied' | 'conflict',
    seen: VersionedValue,
    newestAtBegin: number,
  ) => void;
  /** For the checker: the newest version that was chosen by now. */
  readonly newestVersion: () => number;
}

/**
 * What src/coordination/embedded/embedded.ts does, over the same state machines, in callbacks: promises would cost more
 * than all the rest of a run. One of these lives as long as its agent's process.
 */
export class RegisterClient {
  readonly #links: RegisterLinks;
  readonly #queue: (() => void)[] = [];
  #isBusy = false;
  #counter = 0;
  #operations = 0;

  constructor(links: RegisterLinks) {
    this.#links = links;
  }

  read(done: (register: KnownRegister | null) => void): void {
    const newestAtBegin = this.#links.newestVersion();
    const startedAt = this.#nowMs();
    const peekUntil = startedAt + DEFAULT_CALL_TIMEOUT_MS * PEEK_SHARE;
    const finish = (seen: VersionedValue | null): void => {
      if (seen !== null) this.#links.onCommitted('read', seen, newestAtBegin);
      done(seen === null ? null : toRegister(seen));
    };
    const look = (attempt: number): void => {
      if (attempt >= PEEK_ATTEMPTS || this.#nowMs() >= peekUntil) {
        this.#enqueue((next) =>
          this.#commit(
            (current) => current,
            startedAt + DEFAULT_CALL_TIMEOUT_MS,
            (register) => {
              next();
              finish(register);
            },
          ),
        );
        return;
      }
      this.#peek(peekUntil, (settled) => {
        if (settled !== null) finish(settled);
        else this.#after(5 * (attempt + 1), () => look(attempt + 1));
      });
    };
    look(0);
  }

  compareAndSet(expectedVersion: number, value: unknown, done: (result: CasResult) => void): void {
    const newestAtBegin = this.#links.newestVersion();
    const deadline = this.#nowMs() + DEFAULT_CALL_TIMEOUT_MS;
    const write = {
      expectedVersion,
      value,
      operation: `${this.#links.proposerId}:${++this.#operations}`,
    };
    this.#enqueue((next) =>
      this.#commit(changeOf(write), deadline, (committed, wasProposedBefore) => {
        next();
        if (committed === null) return done({ kind: 'unknown' });
        const kind = this.#judge(write, committed, wasProposedBefore);
        if (kind === 'unknown') return done({ kind });
        this.#links.onCommitted(
          kind,
          kind === 'applied' ? { ...committed, operation: write.operation } : committed,
          newestAtBegin,
        );
        done({ kind, register: toRegister(committed) });
      }),
    );
  }

  #judge(
    write: CompareAndSet,
    committed: VersionedValue,
    wasProposedBefore: boolean,
  ): ReturnType<typeof judgeCompareAndSet> {
    if (this.#links.mutant === 'version-as-identity' && committed.version === write.expectedVersion + 1)
      return 'applied';
    return judgeCompareAndSet(write, committed, wasProposedBefore);
  }

  /** Own rounds run one after the other: they would only preempt each other. */
  #enqueue(task: (next: () => void) => void): void {
    const run = (): void =>
      task(() => {
        this.#isBusy = false;
        const next = this.#queue.shift();
        if (next !== undefined) next();
      });
    const start = (): void => {
      this.#isBusy = true;
      run();
    };
    if (this.#isBusy) this.#queue.push(start);
    else start();
  }

  #peek(deadline: number, done: (settled: VersionedValue | null) => void): void {
    const { voters } = this.#links;
    const replies: ConsensusReply[] = [];
    let isDone = false;
    const finish = (settled: VersionedValue | null): void => {
      if (isDone) return;
      isDone = true;
      done(settled);
    };
    this.#after(this.#timeoutMs(deadline), () => finish(null));
    for (let voter = 0; voter < voters; voter++) {
      let isAnswered = false;
      this.#links.send(voter, { kind: 'peek', key: KEY }, (reply) => {
        if (isDone || isAnswered) return;
        isAnswered = true;
        replies.push(reply);
        const decision = decidePeek(replies, this.#quorum);
        if (decision.kind === 'settled') finish(decision.register);
        else if (replies.length === voters) finish(null);
      });
    }
  }

  get #quorum(): number {
    return this.#links.mutant === 'consensus-quorum-of-one' ? 1 : majority(this.#links.voters);
  }

  #commit(
    change: Change,
    deadline: number,
    done: (committed: VersionedValue | null, wasProposedBefore: boolean) => void,
  ): void {
    let wasProposedBefore = false;
    const attempt = (count: number): void => {
      this.#runRound(change, deadline, (round) => {
        const { phase } = round;
        if (phase.kind === 'committed') return done(phase.register, wasProposedBefore);
        if (phase.kind === 'preempted') this.#counter = Math.max(this.#counter, phase.by.counter);
        wasProposedBefore ||= phase.kind === 'accepting' || (phase.kind === 'preempted' && phase.wasProposed);
        const backoffMs = (5 + this.#links.host.random() * 20) * (count + 1);
        if (this.#nowMs() + backoffMs > deadline) return done(null, wasProposedBefore);
        this.#after(backoffMs, () => attempt(count + 1));
      });
    };
    attempt(0);
  }

  #runRound(change: Change, deadline: number, done: (round: Round) => void): void {
    const ballot = { counter: ++this.#counter, proposer: this.#links.proposerId };
    const start = startRound(KEY, ballot, this.#quorum);
    let round = start.round;
    let pending = 0;
    let isDone = false;
    const settle = (): void => {
      const isOver = round.phase.kind === 'committed' || round.phase.kind === 'preempted';
      if (isDone || (pending > 0 && !isOver)) return;
      isDone = true;
      done(round);
    };
    const broadcast = (message: ConsensusMessage): void => {
      const open = new Set<number>();
      for (let voter = 0; voter < this.#links.voters; voter++) {
        open.add(voter);
        pending++;
        this.#links.send(voter, message, (reply) => {
          if (isDone || !open.delete(voter)) return;
          const step = stepRound(round, String(voter), reply, change);
          round = step.round;
          if (step.broadcast !== null) broadcast(step.broadcast);
          pending--;
          settle();
        });
      }
      this.#after(this.#timeoutMs(deadline), () => {
        pending -= open.size;
        open.clear();
        settle();
      });
    };
    if (start.broadcast !== null) broadcast(start.broadcast);
  }

  #timeoutMs(deadline: number): number {
    return Math.max(1, Math.min(DEFAULT_MESSAGE_TIMEOUT_MS, deadline - this.#nowMs()));
  }

  #nowMs(): number {
    return this.#links.host.nowMs();
  }

  #after(ms: number, run: () => void): void {
    this.#links.host.after(this.#links.host.agent, ms, run);
  }
}

function toRegister({ version, value }: VersionedValue): KnownRegister {
  return { version, state: (value ?? null) as ClusterState | null };
}

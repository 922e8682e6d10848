import type { Clock } from '../../model/clock.ts';
import type { ConsensusMessage, ConsensusReply, VersionedValue } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { changeOf, judgeCompareAndSet } from '../../consensus/compare-and-set.ts';
import { majority } from '../../consensus/proposer.ts';
import type { Change } from '../../consensus/proposer.ts';
import { decidePeek } from '../../consensus/read.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import { Sequence } from '../../model/sequence.ts';
import { isAgentVoterSet } from './agent-voters.ts';
import type { AgentMessage, AgentVoterSet } from './agent-voters.ts';
import type { CompareAndSetResult, Coordination, Register } from '../contract.ts';
import { beginRound, runRound } from '../../consensus/round.ts';
import type { BegunRound, RoundParticipants } from '../../consensus/round.ts';

/** Carries a message to one voter's acceptor. Rejects when there is no answer in time. */
export interface AcceptorTransport {
  send(to: NodeId, message: AgentMessage, timeoutMs: number): Promise<ConsensusReply>;
}

/** Where a register's value says who votes. */
export interface VoterRegister {
  readonly key: string;
  /** The set that a value of it names; null while those vote that founded the cluster. */
  readonly setOf: (value: unknown) => AgentVoterSet | null;
}

export interface EmbeddedCoordinationOptions {
  /** Those that founded the cluster. */
  readonly voters: readonly NodeId[];
  /** Missing where voters never change. */
  readonly voterRegister?: VoterRegister;
  /** The newest set that is known to have been chosen. */
  readonly knownVoters?: AgentVoterSet | null;
  /** A newer set was found to have been chosen. */
  readonly onVoters?: (set: AgentVoterSet) => void;
  readonly transport: AcceptorTransport;
  /** New for every start of a process; see Ballot. */
  readonly proposerId: string;
  /** How long one message may take. Default 400. */
  readonly messageTimeoutMs?: number;
  /** How long one call may take over all its rounds. Default 1500. */
  readonly callTimeoutMs?: number;
  /** How often a watch looks by itself. Default 200. */
  readonly watchIntervalMs?: number;
  /** In [0, 1); spreads the retries of competing proposers. */
  readonly random?: () => number;
  readonly clock: Clock;
}

export interface EmbeddedCoordination extends Coordination {
  /** Tells the watchers to look now: the local acceptor just accepted something for `key`. */
  notify(key: string): void;
  /**
   * Writes a register's value once more, unchanged, under the voters of exactly this epoch, so that nothing which older
   * voters chose can be missing to the next ones. False when that was not confirmed, or others vote by now. Before a change
   * of voters this is needed for each register but the one that the change is written to.
   */
  carry(key: string, epoch: number): Promise<boolean>;
}

/** Registers agreed on by CASPaxos between the agents; they survive the loss of any minority of voters. */
export function createEmbeddedCoordination(options: EmbeddedCoordinationOptions): EmbeddedCoordination {
  return new CasPaxosCoordination(options);
}

export const PEEK_ATTEMPTS = 4;

export const DEFAULT_MESSAGE_TIMEOUT_MS = 400;
export const DEFAULT_CALL_TIMEOUT_MS = 1_500;

/** After so long somebody has written since, and the second half of a round would only be refused. */
const BEGUN_LASTS_MS = 1_000;

/** The part of a read's time in which it only looks. */
export const PEEK_SHARE = 0.4;

class CasPaxosCoordination implements EmbeddedCoordination {
  readonly #founders: readonly NodeId[];
  readonly #voterRegister: VoterRegister | null;
  readonly #onVoters: (set: AgentVoterSet) => void;
  /** Null: the founders. */
  #set: AgentVoterSet | null;
  readonly #transport: AcceptorTransport;
  readonly #proposerId: string;
  readonly #messageTimeoutMs: number;
  readonly #callTimeoutMs: number;
  readonly #watchIntervalMs: number;
  readonly #random: () => number;
  readonly #clock: Clock;
  readonly #queues = new Map<string, Sequence>();
  readonly #expected = new Map<string, ExpectedWrite>();
  readonly #watches = new Map<string, Set<() => void>>();
  readonly #closing = new AbortController();
  #counter = 0;
  #operations = 0;

  constructor(options: EmbeddedCoordinationOptions) {
    this.#founders = options.voters;
    this.#voterRegister = options.voterRegister ?? null;
    this.#onVoters = options.onVoters ?? (() => undefined);
    this.#set = options.knownVoters ?? null;
    this.#transport = options.transport;
    this.#proposerId = options.proposerId;
    this.#messageTimeoutMs = options.messageTimeoutMs ?? DEFAULT_MESSAGE_TIMEOUT_MS;
    this.#callTimeoutMs = options.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS;
    this.#watchIntervalMs = options.watchIntervalMs ?? 200;
    this.#random = options.random ?? Math.random;
    this.#clock = options.clock;
  }

  async read(key: string): Promise<Register> {
    const startedAt = this.#clock.nowMs();
    const deadline = startedAt + this.#callTimeoutMs;
    // With one voter silent each peek may last as long as a message; the round below needs time of its own.
    const peekUntil = startedAt + this.#callTimeoutMs * PEEK_SHARE;
    for (let attempt = 0; attempt < PEEK_ATTEMPTS && this.#clock.nowMs() < peekUntil; attempt++) {
      const settled = await this.#peek(key, peekUntil);
      if (settled !== null) return settled;
      // A write is under way. A round of ours would preempt it, so look again first.
      await this.#pause(5 * (attempt + 1));
    }
    const done = await this.#enqueue(key, () => this.#commit(key, (current) => current, deadline));
    if (done.kind === 'committed') return toRegister(done.register);
    throw new LockstepError(
      'QUORUM_NOT_REACHED',
      `No majority of the voters ${this.#voters.join(', ')} answered within ${this.#callTimeoutMs} ms; see whether their agents run and reach each other.`,
      { outcome: 'not-applied', retryable: true, details: { key, voters: this.#voters } },
    );
  }

  async compareAndSet(key: string, expectedVersion: number, value: unknown): Promise<CompareAndSetResult> {
    const deadline = this.#clock.nowMs() + this.#callTimeoutMs;
    const write = { expectedVersion, value, operation: `${this.#proposerId}:${++this.#operations}` };
    const done = await this.#enqueue(key, () => this.#commit(key, changeOf(write), deadline));
    if (done.kind === 'timeout') {
      return { kind: 'unknown', reason: `no majority of ${this.#voters.join(', ')} answered in time` };
    }
    const register = toRegister(done.register);
    switch (judgeCompareAndSet(write, done.register, done.wasProposedBefore)) {
      case 'applied':
        return { kind: 'applied', register };
      case 'conflict':
        return { kind: 'conflict', current: register };
      case 'unknown':
        return { kind: 'unknown', reason: 'the write was proposed and others have written since' };
    }
  }

  expectWrite(key: string): void {
    if (this.#closing.signal.aborted) return;
    const atMs = this.#clock.nowMs();
    const round = beginRound(this.#participants(key, atMs + this.#messageTimeoutMs), this.#nextBallot());
    this.#expected.set(key, { round, epoch: this.#epoch, atMs });
  }

  watch(key: string, listener: (register: Register) => void): () => void {
    const ended = new AbortController();
    let wake: () => void = () => undefined;
    const look = (): void => wake();
    const looks = this.#watches.get(key) ?? new Set();
    this.#watches.set(key, looks.add(look));
    const run = async (): Promise<void> => {
      let lastVersion = 0;
      let unsettledPeeks = 0;
      while (!ended.signal.aborted && !this.#closing.signal.aborted) {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        let register = await this.#peek(key, this.#clock.nowMs() + this.#messageTimeoutMs);
        unsettledPeeks = register === null ? unsettledPeeks + 1 : 0;
        // No write is under way for that long: its author is gone, and only a round settles what it left.
        if (unsettledPeeks > PEEK_ATTEMPTS) register = await this.read(key).catch(() => null);
        const isOver = ended.signal.aborted || this.#closing.signal.aborted;
        if (register !== null && register.version > lastVersion && !isOver) {
          lastVersion = register.version;
          listener(register);
        }
        await Promise.race([woken, this.#pause(this.#watchIntervalMs)]);
      }
    };
    void run();
    return () => {
      ended.abort();
      looks.delete(look);
      wake();
    };
  }

  notify(key: string): void {
    for (const look of this.#watches.get(key) ?? []) look();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#queues.values()].map((queue) => queue.whenIdle()));
  }

  /** Own rounds on one key run one after the other: they would only preempt each other. */
  #enqueue<T>(key: string, task: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(key) ?? new Sequence();
    this.#queues.set(key, queue);
    return queue.run(task);
  }

  async carry(key: string, epoch: number): Promise<boolean> {
    const deadline = this.#clock.nowMs() + this.#callTimeoutMs;
    return this.#enqueue(key, async () => {
      const done = await this.#commit(key, (current) => current, deadline);
      return done.kind === 'committed' && done.epoch === epoch;
    });
  }

  get #voters(): readonly NodeId[] {
    return this.#set?.voters.map(({ name }) => name) ?? this.#founders;
  }

  get #epoch(): number {
    return this.#set?.epoch ?? 0;
  }

  /** Goes by newer voters from here on, as everything does that was chosen since. */
  #adopt(set: unknown): void {
    if (!isAgentVoterSet(set) || set.epoch <= this.#epoch) return;
    this.#set = set;
    this.#onVoters(set);
  }

  #setOf(key: string, value: unknown): AgentVoterSet | null {
    return key === this.#voterRegister?.key ? this.#voterRegister.setOf(value) : null;
  }

  #learnFrom(key: string, { value }: VersionedValue): void {
    const set = this.#setOf(key, value);
    if (set !== null) this.#adopt(set);
  }

  /** The voters as they are now. */
  #participants(key: string, deadline: number): RoundParticipants {
    const set = this.#set;
    const send = (to: NodeId, message: ConsensusMessage): Promise<ConsensusReply> =>
      this.#transport.send(to, set === null ? message : { ...message, set }, this.#timeoutMs(deadline));
    return { key, voters: this.#voters, send };
  }

  async #peek(key: string, deadline: number): Promise<Register | null> {
    const { voters, send } = this.#participants(key, deadline);
    const quorum = majority(voters.length);
    return new Promise((resolve) => {
      const replies: ConsensusReply[] = [];
      let pending = voters.length;
      for (const voter of voters) {
        send(voter, { kind: 'peek', key })
          .then((reply) => {
            replies.push(reply);
            if (reply.kind === 'outdated') this.#adopt(reply.set);
            // Else the first round after others have written would be refused, and wait before the next.
            if (reply.kind === 'state') this.#counter = Math.max(this.#counter, reply.promised.counter);
          })
          .catch(() => undefined)
          .finally(() => {
            const decision = decidePeek(replies, quorum);
            if (decision.kind === 'settled') {
              this.#learnFrom(key, decision.register);
              resolve(toRegister(decision.register));
            } else if (--pending === 0) resolve(null);
          });
      }
    });
  }

  async #commit(key: string, change: Change, deadline: number): Promise<Committed | { kind: 'timeout' }> {
    let wasProposedBefore = false;
    for (let attempt = 0; ; attempt++) {
      const begun = attempt === 0 ? await this.#takeBegun(key) : null;
      const epoch = this.#epoch;
      const { guarded, isHeldBack } = this.#guard(key, change, epoch);
      const begin = begun ?? { ballot: this.#nextBallot() };
      const { phase } = await runRound(this.#participants(key, deadline), begin, guarded);
      if (phase.kind === 'committed') {
        this.#learnFrom(key, phase.register);
        if (!isHeldBack()) return { kind: 'committed', register: phase.register, wasProposedBefore, epoch };
      }
      if (phase.kind === 'preempted') this.#counter = Math.max(this.#counter, phase.by.counter);
      if (phase.kind === 'outdated') this.#adopt(phase.set);
      const wasProposed = 'wasProposed' in phase ? phase.wasProposed : phase.kind === 'accepting';
      wasProposedBefore ||= wasProposed && !isHeldBack();
      const hasNewVoters = this.#epoch > epoch;
      const backoffMs = hasNewVoters ? 0 : (5 + this.#random() * 20) * (attempt + 1);
      if (this.#closing.signal.aborted || this.#clock.nowMs() + backoffMs > deadline)
        return { kind: 'timeout' };
      if (!hasNewVoters) await this.#pause(backoffMs);
    }
  }

  /**
   * What newer voters than the round's were chosen on is not changed by it any more, only confirmed: a change under voters
   * two epochs older could be chosen by a majority that does not meet the one of the newest.
   */
  #guard(
    key: string,
    change: Change,
    epoch: number,
  ): { readonly guarded: Change; readonly isHeldBack: () => boolean } {
    let isHeldBack = false;
    const guarded: Change = (current) => {
      isHeldBack = (this.#setOf(key, current.value)?.epoch ?? 0) > epoch;
      if (isHeldBack) return current;
      const changed = change(current);
      const next = this.#setOf(key, changed.value)?.epoch ?? 0;
      return next <= epoch + 1 ? changed : current;
    };
    return { guarded, isHeldBack: () => isHeldBack };
  }

  #nextBallot(): Ballot {
    return { counter: ++this.#counter, proposer: this.#proposerId };
  }

  /** The round that was begun for this key, once: a ballot has one value, ever. Null when it will not do any more. */
  async #takeBegun(key: string): Promise<BegunRound | null> {
    const expected = this.#expected.get(key);
    this.#expected.delete(key);
    if (expected === undefined) return null;
    const round = await expected.round;
    const isFresh = this.#clock.nowMs() - expected.atMs < BEGUN_LASTS_MS;
    return isFresh && expected.epoch === this.#epoch ? round : null;
  }

  #timeoutMs(deadline: number): number {
    return Math.max(1, Math.min(this.#messageTimeoutMs, deadline - this.#clock.nowMs()));
  }

  async #pause(ms: number): Promise<void> {
    await this.#clock.sleep(ms, this.#closing.signal);
  }
}

/** A round that waits for its value. */
interface ExpectedWrite {
  readonly round: Promise<BegunRound | null>;
  /** Of the voters that were asked. */
  readonly epoch: number;
  readonly atMs: number;
}

interface Committed {
  readonly kind: 'committed';
  readonly register: VersionedValue;
  /** An earlier round of the same call sent its value, and it is not known whether that was chosen. */
  readonly wasProposedBefore: boolean;
  /** Of the voters that confirmed it. */
  readonly epoch: number;
}

function toRegister(versioned: { readonly version: number; readonly value?: unknown }): Register {
  return { version: versioned.version, value: versioned.value };
}

import type { ConsensusMessage, VersionedValue } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { isQuorum, startPromisedRound, startRound, stepRound } from '../../consensus/proposer.ts';
import type { Change, Round, RoundStep } from '../../consensus/proposer.ts';
import { keyId } from '../core/cells.ts';
import type { Rules } from '../core/rules.ts';
import { MAX_CALLS } from '../core/slot-batch.ts';
import type { Call, CallResult, SlotChange } from '../core/slot-batch.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { CollectionName } from '../nodes/requests.ts';
import type { Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';

/** How a call ended. */
export type CallEnd =
  | { readonly kind: 'chosen'; readonly result: CallResult; readonly answeredBy: readonly string[] }
  /** It was proposed under these ballots, and no quorum was seen in time. */
  | {
      readonly kind: 'unknown';
      readonly ballots: readonly Ballot[];
      readonly failures: ReadonlyMap<string, string>;
    }
  /** It was never proposed. */
  | {
      readonly kind: 'not-reached';
      readonly failures: ReadonlyMap<string, string>;
      readonly cause?: NodeFailure;
    };

interface QueuedCall extends Call {
  readonly end: (end: CallEnd) => void;
  isOver: boolean;
}

/** What a quorum promised together with its last acceptance. */
interface Promised {
  /** Of the members that promised. */
  readonly epoch: number;
  /** On the monotonic clock. */
  readonly atMs: number;
  readonly ballot: Ballot;
  readonly register: VersionedValue;
}

export interface SlotContext {
  readonly roster: Roster;
  readonly runtime: Runtime;
  readonly rules: Rules;
  /** For how long a promise in hand is used: less than a deleted key is kept. */
  readonly promiseLifeMs: number;
  /** New for each process. */
  readonly proposer: string;
  /** Rounds that ended without a quorum because of another proposer, and all others. */
  readonly counts: { rounds: number; preempted: number; failed: number };
}

const ROUND_TIMEOUT_MS = 1_500;
const FIRST_PAUSE_MS = 2;
const LAST_PAUSE_MS = 60;

/**
 * One key as this process proposes for it: one round at a time, for all calls that wait. Invariant: a ballot is
 * proposed once. A promise in hand is taken out before it is used and comes back only from a round that a quorum accepted.
 */
export class Slot {
  readonly id: string;
  readonly #context: SlotContext;
  readonly #collection: CollectionName;
  readonly #key: string;
  #waiting: QueuedCall[] = [];
  #promised: Promised | null = null;
  #highest = 0;
  #isBusy = false;
  #misses = 0;

  constructor(context: SlotContext, collection: CollectionName, key: string) {
    this.#context = context;
    this.#collection = collection;
    this.#key = key;
    this.id = keyId(collection.name, key);
  }

  /** Nothing waits or runs, so that it may be forgotten: that costs one round trip later. */
  get isIdle(): boolean {
    return !this.#isBusy && this.#waiting.length === 0;
  }

  /** The next round goes under a ballot above all of these, and finds out what is promised. */
  startAbove(ballots: readonly Ballot[]): void {
    this.#promised = null;
    for (const { counter } of ballots) this.#highest = Math.max(this.#highest, counter);
  }

  run(change: SlotChange, deadlineMs: number, end: (end: CallEnd) => void): void {
    const { runtime } = this.#context;
    const call: QueuedCall = {
      change,
      doubts: [],
      isOver: false,
      end: (how) => {
        if (call.isOver) return;
        call.isOver = true;
        cancel();
        end(how);
      },
    };
    const cancel = runtime.after(deadlineMs, () => this.#expire(call));
    this.#waiting.push(call);
    if (this.#isBusy) return;
    this.#isBusy = true;
    // Calls of the same turn go together.
    runtime.soon(() => this.#next());
  }

  #failures: ReadonlyMap<string, string> = new Map();
  #refusal: NodeFailure | null = null;
  /** Calls that the round under way has proposed. */
  #proposed: { readonly ballot: Ballot; readonly calls: ReadonlySet<QueuedCall> } | null = null;

  #expire(call: QueuedCall): void {
    const ballots = ballotsOf(call);
    if (this.#proposed?.calls.has(call) === true) ballots.push(this.#proposed.ballot);
    const failures = this.#failures;
    if (ballots.length > 0) call.end({ kind: 'unknown', ballots, failures });
    else
      call.end({
        kind: 'not-reached',
        failures,
        ...(this.#refusal === null ? {} : { cause: this.#refusal }),
      });
  }

  #next(): void {
    const open = this.#waiting.filter((call) => !call.isOver);
    const calls = open.slice(0, MAX_CALLS);
    this.#waiting = open.slice(MAX_CALLS);
    if (calls.length === 0) {
      this.#isBusy = false;
      return;
    }
    this.#context.counts.rounds += 1;
    this.#runRound(calls, this.#take());
  }

  /** A promise is used for one round, whatever becomes of it. */
  #take(): Promised | null {
    const promised = this.#promised;
    this.#promised = null;
    const { roster, runtime, promiseLifeMs } = this.#context;
    // Those who promised may not be members any more; and the key may have been erased, when nobody could tell what became of a proposal.
    if (promised?.epoch !== roster.epoch) return null;
    return runtime.monotonicMs() - promised.atMs < promiseLifeMs ? promised : null;
  }

  /** Runs one round to its end; `promised` spares the first half of it. */
  #runRound(calls: readonly QueuedCall[], promised: Promised | null): void {
    const { roster, proposer, runtime, rules } = this.#context;
    // One round goes by one membership: a node that has gone on to another one refuses it.
    const { epoch, queues: nodes, roundQuorum: quorum } = roster;
    const ballot = promised?.ballot ?? { counter: this.#highest + 1, proposer };
    const next = { counter: ballot.counter + 1, proposer };
    this.#highest = next.counter;
    let results: readonly (CallResult | null)[] = [];
    let live: readonly QueuedCall[] = [];
    const change: Change = (current) => {
      live = calls.filter((call) => !call.isOver);
      const run = rules.runCalls(live, current, ballot);
      results = run.results;
      this.#proposed = { ballot, calls: new Set(live) };
      return run.proposal;
    };
    const failures = new Map<string, string>();
    let refusal: NodeFailure | null = null;
    // What an earlier round met says nothing of why this one fails.
    const note = (): void => {
      this.#failures = failures;
      this.#refusal = refusal;
    };
    const answered: string[] = [];
    let isOver = false;
    let step: RoundStep;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      cancelTimeout();
      note();
      this.#proposed = null;
      this.#conclude(step.round, { epoch, promised, ballot, next, calls, live, results, answered });
    };
    const send = (message: ConsensusMessage): void => {
      const failed: string[] = [];
      for (const node of nodes) {
        const asked = {
          kind: 'consensus',
          collection: this.#collection,
          key: this.#key,
          message,
          epoch,
        } as const;
        node.ask(asked, (reply) => {
          if (isOver) return;
          if (reply instanceof NodeFailure) {
            failures.set(node.name, reply.message);
            if (reply.refusal !== null) refusal = reply;
            note();
            failed.push(node.name);
            const left = nodes.map(({ name }) => name).filter((name) => !failed.includes(name));
            if (!isQuorum(left, quorum) && isCurrent(step.round, message)) finish();
            return;
          }
          if (reply.kind !== 'consensus' || !isCurrent(step.round, message)) return;
          if (message.kind === 'accept') answered.push(node.name);
          advance(stepRound(step.round, node.name, reply.reply, change));
        });
      }
    };
    const advance = (taken: RoundStep): void => {
      step = taken;
      if (taken.broadcast !== null) send(taken.broadcast);
      const { kind } = taken.round.phase;
      if (kind !== 'preparing' && kind !== 'accepting') finish();
    };
    const cancelTimeout = runtime.after(ROUND_TIMEOUT_MS, finish);
    advance(
      promised === null
        ? startRound(this.id, ballot, quorum, next)
        : startPromisedRound(promised.register, { key: this.id, ballot, quorum, next }, change),
    );
  }

  #conclude(
    { phase }: Round,
    round: {
      readonly epoch: number;
      readonly promised: Promised | null;
      readonly ballot: Ballot;
      readonly next: Ballot;
      readonly calls: readonly QueuedCall[];
      readonly live: readonly QueuedCall[];
      readonly results: readonly (CallResult | null)[];
      readonly answered: readonly string[];
    },
  ): void {
    const { counts } = this.#context;
    if (phase.kind === 'committed') {
      this.#misses = 0;
      const { epoch, next } = round;
      const atMs = this.#context.runtime.monotonicMs();
      this.#promised = { epoch, atMs, ballot: next, register: phase.register };
      round.live.forEach((call, index) => {
        const result = round.results[index];
        if (result === null)
          call.end({ kind: 'unknown', ballots: ballotsOf(call), failures: this.#failures });
        else if (result !== undefined) call.end({ kind: 'chosen', result, answeredBy: round.answered });
      });
      this.#next();
      return;
    }
    if (phase.kind === 'preempted') {
      counts.preempted += 1;
      this.#highest = Math.max(this.#highest, phase.by.counter);
    } else counts.failed += 1;
    const wasProposed = phase.kind === 'accepting' || ('wasProposed' in phase && phase.wasProposed);
    if (this.#context.rules.keepsPromise(wasProposed)) this.#promised = round.promised;
    if (wasProposed) {
      round.live.forEach((call, index) => {
        const result = round.results[index];
        if (result !== undefined && result !== null)
          call.doubts = [...call.doubts, { ballot: round.ballot, result }];
      });
    }
    // In front of those that came later.
    this.#waiting = [...round.calls.filter((call) => !call.isOver), ...this.#waiting];
    this.#misses += 1;
    const pauseMs = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#misses, 10));
    this.#context.runtime.after(this.#context.runtime.random() * pauseMs, () => this.#next());
  }
}

function ballotsOf(call: Call): Ballot[] {
  return call.doubts.map(({ ballot }) => ballot);
}

/** A reply to a message of an earlier half of the round says nothing to the present one. */
function isCurrent({ phase }: Round, message: ConsensusMessage): boolean {
  return phase.kind === 'preparing' ? message.kind === 'prepare' : message.kind === 'accept';
}

import { EMPTY_ACCEPTOR, stepAcceptor } from '../../src/consensus/acceptor.ts';
import type {
  AcceptorState,
  AcceptorStep,
  ConsensusMessage,
  ConsensusReply,
} from '../../src/consensus/acceptor.ts';
import { judgeMessage } from '../../src/consensus/voters.ts';
import type { OwnVote } from '../../src/consensus/voters.ts';
import type { AgentMessage, AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import type { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import type { NodeId } from '../../src/model/node.ts';

/** How an acceptor may be wrong; the simulator must catch each. */
export interface AcceptorRules {
  readonly step: (state: AcceptorState, message: ConsensusMessage) => AcceptorStep;
  readonly judge: typeof judgeMessage;
  /** Replies before the state is on disk. */
  readonly repliesEarly: boolean;
  /** Starts without its file after a crash. */
  readonly forgetsAll: boolean;
  /** Starts without the voters that it knew after a crash. */
  readonly forgetsVoters: boolean;
  /** The voters that it goes by as soon as it accepted this value; null: none, for nobody knows whether it was chosen. */
  readonly votersOfAccepted: (value: unknown) => AgentVoterSet | null;
}

export const CORRECT_RULES: AcceptorRules = {
  step: stepAcceptor,
  judge: judgeMessage,
  repliesEarly: false,
  forgetsAll: false,
  forgetsVoters: false,
  votersOfAccepted: () => null,
};

interface AcceptorFile {
  readonly id: string;
  readonly isFounding: boolean;
  readonly voters: AgentVoterSet | null;
  readonly registers: ReadonlyMap<string, AcceptorState>;
}

/** An acceptor with a disk of its own: crashes lose what was not synced, or lose the reply of what was. */
export class SimulatedAcceptor {
  readonly name: NodeId;
  readonly #time: VirtualTime;
  readonly #random: () => number;
  readonly #rules: AcceptorRules;
  #disk: AcceptorFile;
  #memory: AcceptorFile;
  #files = 0;
  #incarnation = 0;
  #syncedUntilMs = 0;
  isUp = true;

  constructor(
    name: NodeId,
    isFounding: boolean,
    world: { readonly time: VirtualTime; readonly random: () => number; readonly rules: AcceptorRules },
  ) {
    this.name = name;
    this.#time = world.time;
    this.#random = world.random;
    this.#rules = world.rules;
    this.#disk = this.#memory = this.#newFile(isFounding);
  }

  get own(): OwnVote {
    return { name: this.name, acceptor: this.#memory.id, isFounding: this.#memory.isFounding };
  }

  get voters(): AgentVoterSet | null {
    return this.#memory.voters;
  }

  handle({ set, ...message }: AgentMessage, answer: (reply: ConsensusReply) => void): void {
    if (!this.isUp) return;
    const judgement = this.#rules.judge(this.own, this.#memory.voters, set ?? null);
    if (judgement.kind === 'outdated')
      return this.#answerLater(answer, { kind: 'outdated', set: judgement.set });
    const before = this.#memory;
    if (judgement.adopts !== null) this.#memory = { ...this.#memory, voters: judgement.adopts };
    const isAnswered = judgement.kind === 'vote';
    const step = isAnswered ? this.#step(message) : null;
    if (this.#memory !== before) this.#sync();
    if (step !== null) this.#answerLater(answer, step.reply);
  }

  #step(message: ConsensusMessage): AcceptorStep {
    const { registers } = this.#memory;
    const state = registers.get(message.key) ?? EMPTY_ACCEPTOR;
    const step = this.#rules.step(state, message);
    if (step.state !== state) {
      this.#memory = { ...this.#memory, registers: new Map([...registers, [message.key, step.state]]) };
      const early = message.kind === 'accept' ? this.#rules.votersOfAccepted(message.proposal.value) : null;
      if (early !== null) this.#memory = { ...this.#memory, voters: early };
    }
    return step;
  }

  #sync(): void {
    const incarnation = this.#incarnation;
    const written = this.#memory;
    const syncMs = (this.#rules.repliesEarly ? 40 : 4) * this.#random() + 0.5;
    this.#syncedUntilMs = Math.max(this.#syncedUntilMs, this.#time.nowMs()) + syncMs;
    this.#time.after(this.#syncedUntilMs - this.#time.nowMs(), () => {
      if (incarnation === this.#incarnation) this.#disk = written;
    });
  }

  #answerLater(answer: (reply: ConsensusReply) => void, reply: ConsensusReply): void {
    if (this.#rules.repliesEarly) return answer(reply);
    const incarnation = this.#incarnation;
    this.#time.after(this.#syncedUntilMs - this.#time.nowMs(), () => {
      if (incarnation === this.#incarnation) answer(reply);
    });
  }

  crash(): void {
    this.isUp = false;
    this.#incarnation++;
    this.#syncedUntilMs = 0;
    const { registers, voters } = this.#disk;
    this.#disk = {
      ...this.#disk,
      registers: this.#rules.forgetsAll ? new Map() : registers,
      voters: this.#rules.forgetsVoters ? null : voters,
    };
  }

  restart(): void {
    if (this.isUp) return;
    this.#memory = this.#disk;
    this.isUp = true;
  }

  /** Crashes and loses its file: the next one is another acceptor's. */
  loseFile(): void {
    this.crash();
    this.#disk = this.#memory = this.#newFile(false);
  }

  #newFile(isFounding: boolean): AcceptorFile {
    return { id: `${this.name}${++this.#files}`, isFounding, voters: null, registers: new Map() };
  }
}

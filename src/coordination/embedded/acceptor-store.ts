import type { Clock } from '../../model/clock.ts';
import { randomUUID } from 'node:crypto';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../consensus/acceptor.ts';
import type { AcceptorState, ConsensusReply, SentMessage, VersionedValue } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { doesVote, judgeMessage } from '../../consensus/voters.ts';
import type { OwnVote } from '../../consensus/voters.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import { AcceptorFile } from './acceptor-file.ts';
import { isAgentVoterSet } from './agent-voters.ts';
import type { AgentMessage, AgentVoterSet } from './agent-voters.ts';
import type { Standing } from './core/admission.ts';

/** A write that lasts longer is told as an obstacle; proposers have given it up by then. */
const HANGS_AFTER_MS = 1_000;

/** An acceptor whose replies leave only after what they promise is on disk. */
export interface DurableAcceptor {
  /**
   * Whether there was no file: the node votes for the first time, or has lost what it promised. The second
   * must not vote, so that it waits for {@link admit}.
   */
  readonly isNew: boolean;
  readonly standing: Standing;
  /** Whether its file counts for a voter that founded the cluster. */
  readonly isFounder: boolean;
  /** Identity of its file; see Voter. */
  readonly id: string;
  /** The newest voters that it has heard of; null for those that founded the cluster. */
  readonly voters: AgentVoterSet | null;
  /** Keeps a chosen set of voters, if it is newer: from then on no older one is answered. */
  learn(set: AgentVoterSet): Promise<void>;
  /** Why it answers no proposal now, for people; null when it does, as far as its last write tells. */
  readonly obstacle: string | null;
  /** From now on it votes as a founder, also after a restart. Until then a new one refuses the founders' messages. */
  admit(): Promise<void>;
  /** Throws CONFIG_INVALID for what is no consensus message, or before it votes, and then has changed nothing. */
  handle(message: SentMessage): Promise<ConsensusReply>;
  /** Called after each accepted proposal, with its key. */
  onAccepted(listener: (key: string) => void): void;
  close(): Promise<void>;
}

interface StoredFile {
  /** 3 once voters have changed: an older release would forget that, so it must not read it. */
  readonly format: 1 | 2 | 3;
  readonly cluster: string;
  readonly node: string;
  /** Missing in files of voters that were opened before this was asked: they vote. */
  readonly isAdmitted?: boolean;
  /** Missing in files of older releases, like `voters`. */
  readonly id?: string;
  readonly voters?: AgentVoterSet | null;
  readonly registers: Readonly<Record<string, AcceptorState>>;
}

const NEWEST_FORMAT = 3;

interface StoreOptions {
  readonly clock: Clock;
  readonly path: string;
  readonly cluster: string;
  readonly node: NodeId;
}

/**
 * Opens the acceptor's file, or creates an empty one. The file is small and holds everything twice, with checksums
 * (acceptor-file.ts). Throws CONFIG_INVALID when both copies are damaged, or it is of another cluster or node, and then
 * leaves it as it is: an acceptor that forgot its promises could let two leaders be chosen.
 */
export async function openAcceptorStore(options: StoreOptions): Promise<DurableAcceptor> {
  const file = new AcceptorFile(options.path);
  const stored = await readStored(file, options);
  const store = new AcceptorStore(options, file, stored);
  const saved = store.save();
  // From here on a missing file means a lost one; one that was there answers once it can be written.
  await (store.isNew ? saved : saved.catch(() => undefined));
  return store;
}

class AcceptorStore implements DurableAcceptor {
  readonly isNew: boolean;
  readonly id: string;
  #voters: AgentVoterSet | null;
  #isAdmitted: boolean;
  /** What is told: only what is on disk. */
  #isAdmissionDurable: boolean;
  readonly #options: StoreOptions;
  readonly #file: AcceptorFile;
  readonly #registers: Map<string, AcceptorState>;
  readonly #listeners: ((key: string) => void)[] = [];
  #persisted: Promise<void> = Promise.resolve();
  /** The write that will carry every change made until it starts (group commit). */
  #nextWrite: Promise<void> | null = null;
  /** The last write failed: the file may lack what is in memory. */
  #isBehind = false;
  #failure = '';
  #writesSinceMs: number | null = null;

  constructor(options: StoreOptions, file: AcceptorFile, stored: StoredFile | null) {
    this.#options = options;
    this.#file = file;
    this.isNew = stored === null;
    this.id = stored?.id ?? randomUUID();
    this.#voters = stored?.voters ?? null;
    this.#isAdmitted = stored !== null && stored.isAdmitted !== false;
    this.#isAdmissionDurable = this.#isAdmitted;
    this.#registers = new Map(Object.entries(stored?.registers ?? {}));
  }

  get voters(): AgentVoterSet | null {
    return this.#voters;
  }

  async learn(set: AgentVoterSet): Promise<void> {
    if (set.epoch <= (this.#voters?.epoch ?? 0)) return;
    this.#voters = set;
    await this.#persist(true);
  }

  async handle(message: SentMessage): Promise<ConsensusReply> {
    checkMessage(message);
    const judgement = judgeMessage(this.#own, this.#voters, message.set ?? null);
    if (judgement.kind === 'outdated') {
      await this.#persist(false);
      return { kind: 'outdated', set: judgement.set };
    }
    if (judgement.adopts !== null) this.#voters = judgement.adopts;
    if (judgement.kind === 'no-voter') {
      await this.#persist(judgement.adopts !== null);
      throw new LockstepError('CONFIG_INVALID', `${this.#options.node} does not vote yet.`);
    }
    const state = this.#registers.get(message.key) ?? EMPTY_ACCEPTOR;
    const step = stepAcceptor(state, message);
    if (step.state !== state) this.#registers.set(message.key, step.state);
    // Also a reject or a peek tells of state that must not be forgotten once it was told.
    await this.#persist(step.state !== state || judgement.adopts !== null);
    if (step.reply.kind === 'accepted') for (const listener of this.#listeners) listener(message.key);
    return step.reply;
  }

  get standing(): Standing {
    const hasWritten = [...this.#registers.values()].some(({ accepted }) => accepted.version > 0);
    return { isAdmitted: this.#votes, hasWritten };
  }

  get isFounder(): boolean {
    return this.#isAdmissionDurable;
  }

  get #own(): OwnVote {
    return { name: this.#options.node, acceptor: this.id, isFounding: this.#isAdmitted };
  }

  get #votes(): boolean {
    return doesVote({ ...this.#own, isFounding: this.#isAdmissionDurable }, this.#voters);
  }

  get obstacle(): string | null {
    if (!this.#votes) return 'it does not vote yet, or has lost its vote';
    if (this.#isBehind) return this.#failure;
    const hangsForMs = this.#writesSinceMs === null ? 0 : this.#options.clock.nowMs() - this.#writesSinceMs;
    return hangsForMs > HANGS_AFTER_MS ? 'its disk does not answer' : null;
  }

  async admit(): Promise<void> {
    this.#isAdmitted = true;
    await this.#persist(true);
    this.#isAdmissionDurable = true;
  }

  /** Writes the present state durably. */
  async save(): Promise<void> {
    await this.#persist(true);
  }

  onAccepted(listener: (key: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    await this.#persisted.catch(() => undefined);
  }

  /**
   * After a failed write nothing is answered before another one succeeds. It carries all that is in memory, so
   * all that was ever told, into a file of its own: what became of the failed one's pages does not matter.
   */
  #persist(isChanged: boolean): Promise<void> {
    if (!isChanged && !this.#isBehind) return this.#nextWrite ?? this.#persisted;
    this.#nextWrite ??= this.#persisted
      .catch(() => undefined)
      .then(() => {
        this.#nextWrite = null;
        this.#writesSinceMs = this.#options.clock.nowMs();
        return this.#write().finally(() => (this.#writesSinceMs = null));
      });
    this.#persisted = this.#nextWrite;
    this.#persisted.then(
      () => (this.#isBehind = false),
      (error: unknown) => {
        this.#isBehind = true;
        this.#failure = (error as Error).message;
      },
    );
    return this.#nextWrite;
  }

  #write(): Promise<void> {
    const { cluster, node } = this.#options;
    const registers = Object.fromEntries(this.#registers);
    const stored: StoredFile = {
      format: this.#voters === null ? 2 : 3,
      cluster,
      node,
      isAdmitted: this.#isAdmitted,
      id: this.id,
      voters: this.#voters,
      registers,
    };
    return this.#file.write(JSON.stringify(stored));
  }
}

async function readStored(file: AcceptorFile, options: StoreOptions): Promise<StoredFile | null> {
  const { path, cluster, node } = options;
  const found = await file.read();
  if (found.kind === 'nothing') return null;
  if (found.kind === 'damaged') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Run the newest release of Lockstep that this node ever ran: no checksum fits in the coordination file ${path}, so that a newer one wrote it, or it is damaged. If that release says the same, "A voter that lost its file" in docs/internals/consensus.md says how the node is rebuilt and gets its vote back. Leave the file where it is until then, and never copy it from another node or a backup.`,
      { details: { path } },
    );
  }
  const stored = JSON.parse(found.body) as StoredFile;
  if (stored.format > NEWEST_FORMAT) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Run a newer release of Lockstep on this node: ${path} has format ${stored.format}, and this release knows formats up to ${NEWEST_FORMAT}. Nothing was changed; leave the file as it is, for it holds what this node promised.`,
      { details: { path, format: stored.format } },
    );
  }
  if (![1, 2, 3].includes(stored.format) || stored.cluster !== cluster || stored.node !== node) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The coordination file ${path} belongs to node ${stored.node} of cluster ${stored.cluster} (format ${stored.format}), not to ${node} of ${cluster}. Point this node to its own folder.`,
      { details: { path, cluster, node } },
    );
  }
  return stored;
}

/** Messages come from the network, and what they say is kept for good: a broken ballot would block its key. */
function checkMessage(message: SentMessage): asserts message is AgentMessage {
  const isKeyed = typeof message === 'object' && message !== null && typeof message.key === 'string';
  const hasBallot = isKeyed && (message.kind === 'peek' || isBallot(message.ballot));
  const hasProposal = hasBallot && (message.kind !== 'accept' || isVersioned(message.proposal));
  if (hasProposal && (message.set === undefined || isAgentVoterSet(message.set))) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'Got something that is no consensus message; run one release on all nodes.',
  );
}

function isBallot(ballot: Ballot | null | undefined): boolean {
  return (
    ballot != null && ballot.counter > 0 && isCount(ballot.counter) && typeof ballot.proposer === 'string'
  );
}

function isVersioned(proposal: VersionedValue | null | undefined): boolean {
  return proposal != null && isCount(proposal.version);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

import { createHash } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../consensus/acceptor.ts';
import type { AcceptorState, ConsensusMessage, ConsensusReply } from '../consensus/acceptor.ts';
import { LockstepError } from '../model/errors.ts';

/** An acceptor whose replies leave only after what they promise is on disk. */
export interface DurableAcceptor {
  handle(message: ConsensusMessage): Promise<ConsensusReply>;
  /** Called after each accepted proposal, with its key. */
  onAccepted(listener: (key: string) => void): void;
  close(): Promise<void>;
}

interface StoredFile {
  readonly format: 1;
  readonly cluster: string;
  readonly node: string;
  readonly registers: Readonly<Record<string, AcceptorState>>;
}

/**
 * Opens the acceptor's file, or begins with an empty one. The file is small and replaced as a whole
 * (temporary file, fsync, rename, fsync of the folder), with a checksum on its first line.
 * Throws CONFIG_INVALID when the file is damaged or of another cluster or node, and then leaves it as it
 * is: an acceptor that forgot its promises could let two leaders be chosen.
 */
export async function openAcceptorStore(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<DurableAcceptor> {
  const registers = new Map(Object.entries(await readStored(options)));
  return new AcceptorStore(options, registers);
}

class AcceptorStore implements DurableAcceptor {
  readonly #options: { readonly path: string; readonly cluster: string; readonly node: string };
  readonly #registers: Map<string, AcceptorState>;
  readonly #listeners: ((key: string) => void)[] = [];
  #persisted: Promise<void> = Promise.resolve();
  /** The write that will carry every change made until it starts (group commit). */
  #nextWrite: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(
    options: { readonly path: string; readonly cluster: string; readonly node: string },
    registers: Map<string, AcceptorState>,
  ) {
    this.#options = options;
    this.#registers = registers;
  }

  async handle(message: ConsensusMessage): Promise<ConsensusReply> {
    const state = this.#registers.get(message.key) ?? EMPTY_ACCEPTOR;
    const step = stepAcceptor(state, message);
    if (step.state !== state) this.#registers.set(message.key, step.state);
    // Also a reject or a peek tells of state that must not be forgotten once it was told.
    await this.#persist(step.state !== state);
    if (step.reply.kind === 'accepted') for (const listener of this.#listeners) listener(message.key);
    return step.reply;
  }

  onAccepted(listener: (key: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    await this.#persisted.catch(() => undefined);
  }

  #persist(isChanged: boolean): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (!isChanged) return this.#nextWrite ?? this.#persisted;
    this.#nextWrite ??= this.#persisted.then(() => {
      this.#nextWrite = null;
      return this.#write();
    });
    this.#persisted = this.#nextWrite;
    // A failed fsync leaves it unknown what is on disk: this acceptor answers nothing more until a restart reads it.
    this.#persisted.catch((error: unknown) => (this.#failure ??= error));
    return this.#nextWrite;
  }

  async #write(): Promise<void> {
    const { path, cluster, node } = this.#options;
    const stored: StoredFile = { format: 1, cluster, node, registers: Object.fromEntries(this.#registers) };
    const body = JSON.stringify(stored);
    const temporary = `${path}.next`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(`${checksum(body)}\n${body}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

async function readStored(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<Readonly<Record<string, AcceptorState>>> {
  const { path, cluster, node } = options;
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  const [sum = '', body = ''] = text.split('\n');
  if (sum !== checksum(body)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The coordination file ${path} is damaged (its checksum does not fit). Remove this node's folder and start the node again: it is rebuilt from the leader; never copy the file from another node.`,
      { details: { path } },
    );
  }
  const stored = JSON.parse(body) as StoredFile;
  if (stored.format !== 1 || stored.cluster !== cluster || stored.node !== node) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The coordination file ${path} belongs to node ${stored.node} of cluster ${stored.cluster} (format ${stored.format}), not to ${node} of ${cluster}. Point this node to its own folder.`,
      { details: { path, cluster, node } },
    );
  }
  return stored.registers;
}

function checksum(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

import { NodeFailure } from '../../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest, NodeTransport } from '../../../src/leaderless/nodes/requests.ts';
import type { Runtime } from '../../../src/leaderless/runtime.ts';
import { OTHER_EPOCH } from './model-node.ts';
import type { ModelNode } from './model-node.ts';

export interface Wire {
  /** Whether messages between this process and node get through now. */
  isCut(): boolean;
  /** How long one takes. */
  delayMs(): number;
  /** Runs later whatever becomes of the process. */
  after(ms: number, run: () => void): void;
  /** How long a transaction runs: some wait for a lock or a disk, while later ones are done. */
  commitMs(): number;
  random(): number;
}

/** What the process goes by, as its connections see it. */
export interface Admission {
  epoch(): number;
  /** Whether a node that is connected to is a member; it and the process tell each other of later members. */
  admit(node: ModelNode): boolean;
}

const STATEMENT_TIMEOUT_MS = 200;
const CONNECTIONS = 2;

/** A process's connections to a node: the model of src/leaderless/nodes/pg-node.ts. */
export class SimulatedLink implements NodeTransport {
  readonly #node: ModelNode;
  readonly #wire: Wire;
  readonly #runtime: Runtime;
  readonly #admission: Admission;
  /** A mutant's: says of every failure that nothing was sent. */
  readonly #deniesSending: boolean;
  #idle = CONNECTIONS;
  #isUp = true;
  /** Counts reconnects: a statement of an earlier connection gives nothing back. */
  #connection = 0;
  onChange: () => void = () => undefined;

  constructor(node: ModelNode, wire: Wire, runtime: Runtime, admission: Admission, deniesSending: boolean) {
    this.#admission = admission;
    this.#node = node;
    this.#wire = wire;
    this.#runtime = runtime;
    this.#deniesSending = deniesSending;
    // As a connection that is made: it is up when the node was looked at.
    if (!node.isUp || wire.isCut() || !admission.admit(node)) this.#break();
  }

  get idle(): number {
    return this.#isUp ? this.#idle : 0;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  send(requests: readonly NodeRequest[]): Promise<readonly (NodeReply | NodeFailure)[]> {
    this.#idle -= 1;
    const connection = this.#connection;
    const epoch = this.#admission.epoch();
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (settle: () => void): void => {
        if (isOver) return;
        isOver = true;
        cancel();
        settle();
      };
      const fail = (why: string): void =>
        end(() => {
          if (connection === this.#connection) this.#break();
          reject(new NodeFailure(`${this.#node.name} ${why}`, { wasSent: !this.#deniesSending }));
        });
      const cancel = this.#runtime.after(STATEMENT_TIMEOUT_MS, () => fail('did not answer'));
      this.#carry(() => {
        if (!this.#node.isUp) return this.#carry(() => fail('is not there'));
        const { life } = this.#node;
        const transaction = this.#node.begin();
        this.#wire.after(this.#wire.commitMs(), () => {
          if (this.#node.life !== life) return this.#carry(() => fail('crashed'));
          const replies = this.#node.commit(transaction, requests, epoch);
          this.#carry(() =>
            end(() => {
              if (connection === this.#connection) {
                this.#idle += 1;
                const isOutdated = replies.some(
                  (reply) => reply instanceof NodeFailure && reply.message === OTHER_EPOCH,
                );
                if (isOutdated) this.#break();
                else this.onChange();
              }
              resolve(replies);
            }),
          );
        });
      });
    });
  }

  /** One way; what meets a cut is lost. */
  #carry(arrive: () => void): void {
    if (this.#wire.isCut()) return;
    this.#wire.after(this.#wire.delayMs(), () => {
      if (!this.#wire.isCut()) arrive();
    });
  }

  #break(): void {
    this.#connection += 1;
    this.#isUp = false;
    this.onChange();
    this.#retry();
  }

  #retry(): void {
    this.#runtime.after(10 + this.#wire.random() * 60, () => {
      if (!this.#node.isUp || this.#wire.isCut() || !this.#admission.admit(this.#node)) return this.#retry();
      this.#isUp = true;
      this.#idle = CONNECTIONS;
      this.onChange();
    });
  }
}

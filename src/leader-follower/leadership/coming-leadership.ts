import { formatLsn } from '../../model/lsn.ts';
import type { Term } from '../../model/node.ts';
import type { LogEnd } from '../rejoin/log-end.ts';
import type { RegisterReader } from './register-reader.ts';
import { encodeHistory } from '../report/status.ts';
import type { NodeStatus } from '../report/status.ts';

/**
 * From which position this node is about to be promoted, for the others to attach to it meanwhile. Told
 * from when the register is won until PostgreSQL accepts writes, and only when the log ends with a whole
 * record: a follower that received more could pass its end off for what the new timeline has there.
 */
export class ComingLeadership {
  readonly #register: RegisterReader;
  readonly #onTold: () => void;
  #promotesFrom: NodeStatus['promotesFrom'];
  #term: Term | null = null;

  constructor(register: RegisterReader, onTold: () => void) {
    this.#register = register;
    this.#onTold = onTold;
  }

  /** This node has just won the register. */
  won(end: LogEnd | null): void {
    this.ended();
    // What is replayed ends with a whole record, and the promotion forks off there.
    if (end === null || end.receivedLsn !== end.replayedLsn) return;
    this.#term = this.#register.known.state?.leadership.term ?? null;
    this.#promotesFrom = { history: encodeHistory(end.history), lsn: formatLsn(end.receivedLsn) };
    this.#onTold();
  }

  /** PostgreSQL accepts writes: its history says the rest. */
  ended(): void {
    this.#promotesFrom = undefined;
  }

  get promotesFrom(): NodeStatus['promotesFrom'] {
    return this.#register.known.state?.leadership.term === this.#term ? this.#promotesFrom : undefined;
  }
}

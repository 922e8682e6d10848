import type { TransactionPart } from '../../logical/core/change.ts';
import type { Lsn } from '../../model/lsn.ts';
import { supersedes } from '../core/version.ts';
import { GRANT, HELD, readGrant, readHeld } from '../escrow/share-messages.ts';
import type { GrantMessage, HeldMessage } from '../escrow/share-messages.ts';
import { DECISION, readDecision } from '../own/decisions.ts';
import type { Decision } from '../own/decisions.ts';
import { PROMISE, readPromise } from '../own/promises.ts';
import type { EmptiedTable, IncomingChange, IncomingChanges } from './incoming.ts';

/** Changes that wait to be applied as one batch. */
export class Gathered {
  changes: IncomingChange[] = [];
  #until: Lsn = 0n as Lsn;
  #promises: number[] = [];
  #decisions: Decision[] = [];
  #shares: HeldMessage[] = [];
  #grants: GrantMessage[] = [];
  /** Of the transaction that is not whole yet: taken with it, so that they are neither lost nor given twice. */
  #openGrants: GrantMessage[] = [];
  readonly #promiseKey: Buffer;
  #timeUs = 0;
  #isWhole = true;
  #hasMore = false;

  constructor(promiseKey: Buffer) {
    this.#promiseKey = promiseKey;
  }

  /** No transaction has been begun and not been gathered to its end. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Something was passed since it was last taken. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** Of a part, which is passed once all that it brings was added. */
  add(changes: readonly IncomingChange[]): void {
    this.#isWhole = false;
    for (const change of changes) this.changes.push(change);
  }

  /** What is not later than the emptying of its table need not be applied any more. */
  forget({ table, version }: EmptiedTable): void {
    this.changes = this.changes.filter(
      (change) => change.table !== table || !supersedes(version, change.version),
    );
  }

  pass(part: TransactionPart, messages: IncomingChanges['messages']): void {
    for (const { prefix, content } of messages) {
      const timeUs = prefix === PROMISE ? readPromise(content, this.#promiseKey) : null;
      if (timeUs !== null) this.#promises.push(timeUs);
      const decision = prefix === DECISION ? readDecision(content, this.#promiseKey) : null;
      if (decision !== null) this.#decisions.push(decision);
      const share = prefix === HELD ? readHeld(content, this.#promiseKey) : null;
      if (share !== null) this.#shares.push(share);
      const grant = prefix === GRANT ? readGrant(content, this.#promiseKey) : null;
      if (grant !== null) this.#openGrants.push(grant);
    }
    this.#timeUs = Number(part.committedAtMicros);
    this.#isWhole = part.isLast;
    this.#hasMore = true;
    if (!part.isLast) return;
    this.#until = part.endLsn;
    this.#grants.push(...this.#openGrants);
    this.#openGrants = [];
  }

  take(): {
    readonly changes: readonly IncomingChange[];
    readonly until: Lsn;
    readonly promises: readonly number[];
    readonly decisions: readonly Decision[];
    readonly shares: readonly HeldMessage[];
    readonly timeUs: number;
  } {
    const taken = {
      changes: this.changes,
      until: this.#until,
      promises: this.#promises,
      decisions: this.#decisions,
      shares: this.#shares,
      timeUs: this.#timeUs,
    };
    this.#hasMore = false;
    this.changes = [];
    this.#promises = [];
    this.#decisions = [];
    this.#shares = [];
    return taken;
  }

  /** What whole transactions gave to a region. */
  takeGrants(to: number): readonly GrantMessage[] {
    const taken = this.#grants.filter((grant) => grant.to === to);
    this.#grants = [];
    return taken;
  }
}

import { LockstepError } from '../../../model/errors.ts';

/** Longest key: it is the primary key of `lockstep.outcome`. */
const MAX_KEY_LENGTH = 200;

/** Results above this size are not kept for repeats. */
const MAX_RESULT_BYTES = 64 * 1024;

/** Throws CONFIG_INVALID for a key that cannot be stored. */
export function checkIdempotencyKey(key: unknown): string {
  if (typeof key === 'string' && key !== '' && key.length <= MAX_KEY_LENGTH && !key.includes('\0'))
    return key;
  throw new LockstepError(
    'CONFIG_INVALID',
    `An idempotencyKey must be a text of 1 to ${MAX_KEY_LENGTH} characters without NUL.`,
  );
}

/** What a repeat of the call will get: JSON, or null for what JSON cannot say or what is too large to keep. */
export function encodeResult(value: unknown): string | null {
  try {
    const text = JSON.stringify(value) as string | undefined;
    return text === undefined || new TextEncoder().encode(text).length > MAX_RESULT_BYTES ? null : text;
  } catch {
    // A cycle or a bigint: the call itself must not fail for the sake of a later repeat.
    return null;
  }
}

/** The row under a key as a claim found or made it. */
export interface OutcomeRow {
  readonly attempt: string;
  /** JSON, or null when the applied attempt returned nothing that is kept. */
  readonly result: string | null;
}

/** `own`: nothing is applied under the key, and this attempt may go on. `applied`: by an attempt that returned `value`. */
export type Claim = { readonly kind: 'own' } | { readonly kind: 'applied'; readonly value: unknown };

/**
 * What one call knows of its attempts under one key. An attempt whose COMMIT was sent and not answered is
 * open until a later claim on the leader settles it.
 */
export class AttemptLedger {
  readonly #open = new Map<string, unknown>();

  /** Whether an earlier attempt of this call may be applied. */
  get isInDoubt(): boolean {
    return this.#open.size > 0;
  }

  /** The attempt's COMMIT was sent, and its answer is lost; `value` is what it would have returned. */
  leaveOpen(attempt: string, value: unknown): void {
    this.#open.set(attempt, value);
  }

  /**
   * Judges the row that the claim of `attempt` returned. The claim waited for every transaction that had
   * written the key, so a row of its own proves that no earlier attempt is or will be applied.
   */
  judge(attempt: string, row: OutcomeRow): Claim {
    if (row.attempt === attempt) {
      this.#open.clear();
      return { kind: 'own' };
    }
    // Own values are returned as they were; another call's only as JSON has kept them.
    if (this.#open.has(row.attempt)) return { kind: 'applied', value: this.#open.get(row.attempt) };
    return { kind: 'applied', value: row.result === null ? undefined : (JSON.parse(row.result) as unknown) };
  }
}

/** Why an attempt of a keyed call failed. */
export type AttemptFailure =
  /** COMMIT was sent, its answer is lost. */
  | 'commit-unknown'
  /** COMMIT is applied on the leader, but its wait for followers was cancelled. */
  | 'wait-cancelled'
  /** COMMIT is applied on the leader, and waited for followers as long as it may. */
  | 'wait-exceeded'
  /** The claim gave up waiting for a transaction that still holds the key. */
  | 'claim-blocked'
  /** There is no table to claim the key in. */
  | 'table-missing'
  | 'other';

/** `again`: another attempt. `create-table`: then another. `unknown`: give up in doubt. `pass`: the error as it is. */
export type KeyedDecision = 'again' | 'create-table' | 'unknown' | 'pass';

/** What follows a failed attempt, once the rules for all transactions did not ask for another one. */
export function decideKeyed(failure: AttemptFailure, isInDoubt: boolean, leftMs: number): KeyedDecision {
  if (failure === 'table-missing' && leftMs > 0) return 'create-table';
  const mayRepeat =
    failure === 'commit-unknown' || failure === 'wait-cancelled' || failure === 'claim-blocked';
  if (mayRepeat && leftMs > 0 && (failure !== 'claim-blocked' || isInDoubt)) return 'again';
  if (failure === 'wait-cancelled' || failure === 'wait-exceeded') return 'pass';
  return isInDoubt ? 'unknown' : 'pass';
}

/** How often a pool looks for outcomes past their retention. */
const SWEEP_INTERVAL_MS = 600_000;

/** Whether it is time to delete old outcomes. `retentionMs` 0 keeps them for ever. */
export function isSweepDue(nowMs: number, lastSweepMs: number, retentionMs: number): boolean {
  return retentionMs > 0 && nowMs - lastSweepMs >= SWEEP_INTERVAL_MS;
}

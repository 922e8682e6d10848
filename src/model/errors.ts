/** What is known about the operation's effect when an error is thrown. */
export type Outcome = 'not-applied' | 'applied' | 'unknown';

/** Every code a {@link LockstepError} can carry. Each has a heading in docs/errors.md. */
export type ErrorCode =
  | 'NO_LEADER'
  | 'NOT_LEADER'
  | 'POOL_SATURATED'
  | 'FENCED'
  | 'LAG_EXCEEDED'
  | 'DURABILITY_TIMEOUT'
  | 'COMMIT_UNKNOWN'
  | 'WRITE_LOST'
  | 'QUORUM_NOT_REACHED'
  | 'CAS_CONFLICT'
  | 'VALUE_REFUSED'
  | 'CLOCK_SKEW'
  | 'CONFIG_INVALID'
  | 'SCHEMA_MISFIT'
  | 'POSTGRES_FAILED'
  | 'INVARIANT';

export interface LockstepErrorOptions {
  /** Default `not-applied`. */
  readonly outcome?: Outcome;
  /** True when the same call may succeed later without any change. Default false. */
  readonly retryable?: boolean;
  /** The values that explain the error. Never SQL parameters or secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/**
 * The one error class Lockstep throws. The message is one sentence with the values and the remedy;
 * `outcome` says whether the operation took effect. Errors of PostgreSQL itself pass unchanged.
 */
export class LockstepError extends Error {
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: LockstepErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LockstepError';
    this.code = code;
    this.outcome = options.outcome ?? 'not-applied';
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}

/** SQLSTATE of an error, or Node's code of a socket error; empty when it has none. */
export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

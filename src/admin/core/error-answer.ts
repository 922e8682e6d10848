import { LockstepError } from '../../model/errors.ts';
import type { ErrorCode, Outcome } from '../../model/errors.ts';

/** The body of every answer that is not a success. */
export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly outcome: Outcome;
}

/** The HTTP statuses that commands answer with. */
export type ErrorStatus = 400 | 401 | 403 | 404 | 409 | 413 | 500 | 502 | 503 | 504;

const STATUS: Readonly<Record<ErrorCode, ErrorStatus>> = {
  CONFIG_INVALID: 400,
  NOT_LEADER: 409,
  FENCED: 409,
  CAS_CONFLICT: 409,
  VALUE_REFUSED: 400,
  CLOCK_SKEW: 409,
  WRITE_LOST: 409,
  INVARIANT: 500,
  SCHEMA_MISFIT: 409,
  POSTGRES_FAILED: 502,
  NO_LEADER: 503,
  POOL_SATURATED: 503,
  LAG_EXCEEDED: 503,
  QUORUM_NOT_REACHED: 503,
  DURABILITY_TIMEOUT: 504,
  COMMIT_UNKNOWN: 504,
};

/** Status and body for whatever a command threw. PostgreSQL's own errors keep their SQLSTATE as code. */
export function toErrorAnswer(error: unknown): { readonly status: ErrorStatus; readonly body: ErrorBody } {
  if (error instanceof LockstepError) {
    return {
      status: STATUS[error.code],
      body: { code: error.code, message: error.message, outcome: error.outcome },
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { status: 500, body: { code: sqlState(error) ?? 'INVARIANT', message, outcome: 'unknown' } };
}

function sqlState(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : null;
}

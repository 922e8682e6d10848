import { setTimeout as delay } from 'node:timers/promises';
import { LockstepError } from '../../src/model/errors.ts';

export interface SettleOptions {
  /** When to give up and pass the last error on. Default 30000. */
  readonly deadlineMs?: number;
  /** Told about every error that led to another attempt. */
  readonly onRetry?: (error: unknown) => void;
}

/**
 * Repeats work that is safe to repeat (it carries its own key) until its outcome is known: through a
 * failover, an unknown commit, a broken connection or a rolled back conflict. Other errors pass at once.
 */
export async function settle<T>(work: () => Promise<T>, options: SettleOptions = {}): Promise<T> {
  const { deadlineMs = 30_000, onRetry } = options;
  const giveUpAt = performance.now() + deadlineMs;
  for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, 500)) {
    try {
      return await work();
    } catch (error) {
      if (!isSettlable(error) || performance.now() + pauseMs > giveUpAt) throw error;
      onRetry?.(error);
      await delay(pauseMs);
    }
  }
}

/** Lockstep's codes after which the same keyed work may be asked for again. */
const LOCKSTEP_CODES = new Set([
  'COMMIT_UNKNOWN',
  'NO_LEADER',
  'NOT_LEADER',
  'FENCED',
  'DURABILITY_TIMEOUT',
  'LAG_EXCEEDED',
]);

/** Connection lost or refused, server stopping, read-only after a change of role, or conflict: SQLSTATE. */
const SQL_STATES = /^(08...|57P0[1235]|25006|40001|40P01|53300)$/;
const SOCKET_CODES = /^E[A-Z]{3,}$/;

function isSettlable(error: unknown): boolean {
  if (error instanceof LockstepError) return error.retryable || LOCKSTEP_CODES.has(error.code);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return SQL_STATES.test(code) || SOCKET_CODES.test(code);
}

import { LockstepError } from '../model/errors.ts';
import type { Outcome } from '../model/errors.ts';
import type { NodeFailure } from './nodes/requests.ts';

/** The error for a call that too few nodes answered. */
export function notReached(
  what: string,
  outcome: Outcome,
  failures: ReadonlyMap<string, string>,
  answeredBy: readonly string[],
  needed: number,
  cause?: NodeFailure,
): LockstepError {
  const told = [...failures.values()].join('; ') || 'the others did not answer in time';
  if (cause !== undefined && cause.refusal !== null)
    return new LockstepError(cause.refusal, `The servers refused it: ${told}.`, { outcome, cause });
  return new LockstepError(
    'QUORUM_NOT_REACHED',
    `${answeredBy.length} of ${needed} servers that "${what}" needs answered in time: ${told}. See which of them run ("lockstep leaderless status"), or ask for less.`,
    {
      outcome,
      retryable: true,
      details: { level: what, needed, answeredBy, failures: Object.fromEntries(failures) },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

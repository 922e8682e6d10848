import { LockstepError } from '../model/errors.ts';
import type { ErrorCode, Outcome } from '../model/errors.ts';
import type { NodeId } from '../model/node.ts';
import type { AgentSeal } from './agent-seal.ts';
import { askSealed, askUnsealed } from './ask-agent.ts';
import type { SealedAnswer } from './ask-agent.ts';

/** Path of what {@link Challenges} gives out, on an agent's HTTP server. */
export const CHALLENGE_PATH = '/v1/challenge';

const CHALLENGE_TIMEOUT_MS = 2_000;
const CHALLENGE = /^[\w-]{1,100}$/;

export interface OperatorRequest {
  readonly to: NodeId;
  readonly url: string;
  /** For example `/v1/plan`. */
  readonly path: string;
  /** POST with this as JSON; GET when left out. */
  readonly body?: unknown;
  readonly timeoutMs: number;
}

/**
 * Asks one agent in the name of the people who have its cluster.json. No secret is sent, and no answer believed but the
 * agent's own. Throws its LockstepError; NO_LEADER when it does not answer, and CONFIG_INVALID when somebody else does,
 * both with `details.isSilent`.
 */
export async function askAsOperator<T>(seal: AgentSeal, asked: OperatorRequest): Promise<T> {
  const { to, url, path, body } = asked;
  const isCommand = body !== undefined;
  const challenge = isCommand ? await getChallenge(asked) : undefined;
  const request = {
    to,
    url,
    path,
    method: isCommand ? 'POST' : 'GET',
    signal: AbortSignal.timeout(asked.timeoutMs),
    ...(isCommand ? { body } : {}),
  } as const;
  const answer = await askSealed(seal, request, challenge).catch((cause: unknown) => {
    throw unanswered(asked, cause, isCommand ? 'unknown' : 'not-applied');
  });
  return readAnswer(asked, answer) as T;
}

/** Nothing was asked for yet: whatever goes wrong here changed nothing. */
async function getChallenge(asked: OperatorRequest): Promise<string> {
  try {
    const signal = AbortSignal.timeout(Math.min(asked.timeoutMs, CHALLENGE_TIMEOUT_MS));
    const { challenge } = JSON.parse(await askUnsealed(`${asked.url}${CHALLENGE_PATH}`, signal)) as {
      challenge?: unknown;
    };
    if (typeof challenge === 'string' && CHALLENGE.test(challenge)) return challenge;
    throw new Error('its challenge is none');
  } catch (cause) {
    throw unanswered(asked, cause, 'not-applied');
  }
}

function readAnswer({ to, path }: OperatorRequest, { status, body }: SealedAnswer): unknown {
  const answer = JSON.parse(body) as unknown;
  if (status === 200) return answer;
  const { code, message, outcome } = (answer ?? {}) as {
    code?: ErrorCode;
    message?: string;
    outcome?: Outcome;
  };
  throw new LockstepError(code ?? 'INVARIANT', message ?? `${to} answered ${status} to ${path}`, {
    outcome: outcome ?? 'unknown',
  });
}

function unanswered({ to, url }: OperatorRequest, cause: unknown, outcome: Outcome): LockstepError {
  const details = { isSilent: true };
  if (cause instanceof LockstepError)
    return new LockstepError(cause.code, cause.message, { cause, outcome, details });
  return new LockstepError('NO_LEADER', `The agent of ${to} at ${url} does not answer.`, {
    cause,
    retryable: true,
    outcome: isRefused(cause) ? 'not-applied' : outcome,
    details,
  });
}

/** Nobody listened there: nothing was sent. */
function isRefused(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
}

import type { NodesAnswer } from '../../leader-follower/peers/api.ts';
import { agentUrl } from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import type { ErrorCode, Outcome } from '../../model/errors.ts';

const NODES_TIMEOUT_MS = 1_000;

export interface AgentRequest {
  /** For example `/v1/plan`. */
  readonly path: string;
  /** POST with this as JSON; GET when left out. */
  readonly body?: unknown;
  readonly timeoutMs: number;
}

/** Asks one agent. Throws its LockstepError, or NO_LEADER when it does not answer: then with outcome `unknown`. */
export async function askAgent<T>(
  config: ClusterConfig,
  node: NodeConfig,
  request: AgentRequest,
): Promise<T> {
  const { path, body, timeoutMs } = request;
  const response = await fetch(`${agentUrl(node)}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${config.secrets.agent}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((cause: unknown) => {
    throw new LockstepError('NO_LEADER', `The agent of ${node.name} at ${agentUrl(node)} does not answer.`, {
      cause,
      retryable: true,
      outcome: isRefused(cause) ? 'not-applied' : 'unknown',
      details: { isSilent: true },
    });
  });
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as T;
  const { code, message, outcome } = (answer ?? {}) as {
    code?: ErrorCode;
    message?: string;
    outcome?: Outcome;
  };
  throw new LockstepError(code ?? 'INVARIANT', message ?? `${path} answered ${response.status}.`, {
    outcome: outcome ?? 'unknown',
  });
}

/** Asks the agents in turn until one answers. Throws the answer's LockstepError, or NO_LEADER when none does. */
export async function askAnyAgent<T>(config: ClusterConfig, request: AgentRequest): Promise<T> {
  // A witness can check no settings.
  for (const node of config.nodes.toSorted((a, b) => Number(a.witness) - Number(b.witness))) {
    try {
      return await askAgent<T>(config, node, request);
    } catch (error) {
      if (!(error instanceof LockstepError) || error.details['isSilent'] !== true) throw error;
    }
  }
  throw new LockstepError(
    'NO_LEADER',
    `No agent of cluster ${config.name} answers. Start it with "npm start" or "lockstep dev".`,
    { retryable: true },
  );
}

/**
 * The nodes that the agents know of now, by the newest answer; null when none answers, or none of them has read the
 * register yet: one that has just started can only repeat cluster.json, which does not tell who came later.
 */
export async function askForNodes(config: ClusterConfig): Promise<readonly NodeConfig[] | null> {
  const answers = await Promise.all(
    config.nodes.map((node) =>
      askAgent<NodesAnswer>(config, node, { path: '/v1/nodes', timeoutMs: NODES_TIMEOUT_MS }).catch(
        () => null,
      ),
    ),
  );
  const informed = answers.filter((answer) => answer !== null).filter(({ version }) => version > 0);
  const newest = informed.toSorted((a, b) => b.version - a.version)[0];
  return newest?.nodes ?? null;
}

/** Nobody listened there: nothing was sent. */
function isRefused(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED';
}

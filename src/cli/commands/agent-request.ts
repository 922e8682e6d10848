import { newsKeyOf, OPERATOR } from '../../coordination/agent-seal.ts';
import { askAsOperator } from '../../coordination/ask-as-operator.ts';
import { agentUrl } from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { openSeal } from '../../leader-follower/config/coordination.ts';
import { parseNodesAnswer } from '../../leader-follower/config/node-schema.ts';
import type { NodesAnswer } from '../../leader-follower/config/node-schema.ts';
import { createNewsVerifier } from '../../news/signature.ts';
import type { NewsVerifier } from '../../news/signature.ts';
import { LockstepError } from '../../model/errors.ts';

const NODES_TIMEOUT_MS = 1_000;

export interface AgentRequest {
  /** For example `/v1/plan`. */
  readonly path: string;
  /** POST with this as JSON; GET when left out. */
  readonly body?: unknown;
  readonly timeoutMs: number;
}

/** Asks one agent, sealed; see {@link askAsOperator} for what it throws. */
export function askAgent<T>(config: ClusterConfig, node: NodeConfig, request: AgentRequest): Promise<T> {
  return askAsOperator<T>(openSeal(config, OPERATOR), { to: node.name, url: agentUrl(node), ...request });
}

/** The answer of the first agent that answers. Throws its LockstepError, or NO_LEADER when none does. */
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
    `None of ${config.nodes.map(({ name }) => name).join(', ')} answers for cluster ${config.name}. Start their agents ("npm start", "lockstep dev", or the service on their servers); nodes that were added later must be in this cluster.json to be found.`,
    { retryable: true },
  );
}

/**
 * The newest list of nodes that an agent knows of now; null when none answers, or none of them has read the register
 * yet: one that has just started can only repeat cluster.json, which does not tell who came later.
 */
export async function askForNodesAnswer(config: ClusterConfig): Promise<NodesAnswer | null> {
  const answers = await Promise.all(
    config.nodes.map((node) =>
      askAgent(config, node, { path: '/v1/nodes', timeoutMs: NODES_TIMEOUT_MS })
        .then(parseNodesAnswer)
        .catch(() => null),
    ),
  );
  const informed = answers.filter((answer) => answer !== null).filter(({ version }) => version > 0);
  return informed.toSorted((a, b) => b.version - a.version)[0] ?? null;
}

/** Whether an agent of this cluster said what it shows to everyone. */
export function newsVerifierOf({ id, secrets }: ClusterConfig): NewsVerifier {
  return createNewsVerifier(newsKeyOf(id, secrets)) ?? (() => false);
}

/** The nodes of {@link askForNodesAnswer}. */
export async function askForNodes(config: ClusterConfig): Promise<readonly NodeConfig[] | null> {
  return (await askForNodesAnswer(config))?.nodes ?? null;
}

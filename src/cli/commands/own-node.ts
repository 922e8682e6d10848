import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeFolder } from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { parseNode } from '../../leader-follower/config/node-schema.ts';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import { replaceFile } from '../../postgres/data-folder.ts';
import { askForNodes } from './agent-request.ts';

/** The node as the others told it last, for a start while none of them knows, as after all machines lost power. */
const OWN_NODE_FILE = 'listed.json';

/**
 * The configuration with this agent's own node in it, so that a node that was added needs cluster.json as it is on the
 * other machines. Throws CONFIG_INVALID for a node that is not listed, NO_LEADER when nobody can say.
 */
export async function withOwnNode(
  config: ClusterConfig,
  { data, node }: { readonly data: string; readonly node: string },
): Promise<ClusterConfig> {
  if (config.nodes.some(({ name }) => name === node)) return config;
  const folder = nodeFolder(data, parseNodeId(node));
  const path = join(folder, OWN_NODE_FILE);
  const nodes = await askForNodes(config);
  const own = nodes === null ? await readKept(path) : (nodes.find(({ name }) => name === node) ?? null);
  if (own === null) throw nodes === null ? unanswered(config, node) : unlisted(config, node, nodes);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  await replaceFile(path, `${JSON.stringify(own)}\n`, null);
  // It did not found the cluster: whether it votes, the register says.
  return { ...config, nodes: [...config.nodes, { ...own, voter: false }] };
}

async function readKept(path: string): Promise<NodeConfig | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text === null ? null : parseNode(JSON.parse(text), path);
}

function unlisted(config: ClusterConfig, node: string, nodes: readonly NodeConfig[]): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `There is no node "${node}" in cluster ${config.name}; it has ${nodes.map(({ name }) => name).join(', ')}. Add it first, where cluster.json is: lockstep node add ${node} --host <address> --port <port> --agent-port <port>.`,
  );
}

function unanswered(config: ClusterConfig, node: string): LockstepError {
  return new LockstepError(
    'NO_LEADER',
    `There is no node "${node}" in cluster.json, and no agent of cluster ${config.name} answers that could tell where it is. See whether they run, can be reached from here and have a majority of the voters ("lockstep status"), and start this one again.`,
    { retryable: true },
  );
}

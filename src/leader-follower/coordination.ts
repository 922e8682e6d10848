import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { ConsensusMessage, ConsensusReply } from '../consensus/acceptor.ts';
import { openAcceptorStore } from '../coordination/acceptor-store.ts';
import { AgentSeal } from '../coordination/agent-seal.ts';
import type { Coordination } from '../coordination/contract.ts';
import { createEmbeddedCoordination } from '../coordination/embedded.ts';
import { createEtcdCoordination } from '../coordination/etcd.ts';
import { createHttpTransport } from '../coordination/http-transport.ts';
import { LockstepError } from '../model/errors.ts';
import type { NodeId } from '../model/node.ts';
import { agentUrl } from './config.ts';
import type { ClusterConfig, EtcdConfig, NodeConfig } from './config.ts';

/** Each tick reads the register anyway; the watch is for news in between, of which the own acceptor hears. */
const WATCH_INTERVAL_MS = 2_000;

/** The registers of this cluster, however they are agreed on. */
export interface OpenCoordination {
  readonly registers: Coordination;
  /** This node's vote; null where others than the agents vote. */
  readonly vote: ((message: ConsensusMessage) => Promise<ConsensusReply>) | null;
  close(): Promise<void>;
}

export interface CoordinationOptions {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly seal: AgentSeal;
  /** The node's folder, and whether it was never used before. */
  readonly folder: string;
  readonly isNew: boolean;
}

/** What this node proves itself to the other agents with. */
export function openSeal(config: ClusterConfig, self: NodeId): AgentSeal {
  const nodes = config.nodes.map((node) => node.name);
  return new AgentSeal({ self, nodes, cluster: config.id, secrets: config.secrets });
}

/** Opens what the configuration asks for. Throws CONFIG_INVALID when this node must not vote. */
export async function openCoordination(options: CoordinationOptions): Promise<OpenCoordination> {
  const { config } = options;
  switch (config.coordination.kind) {
    case 'embedded':
      return openEmbedded(options);
    case 'etcd':
      return openEtcd(config.id, config.coordination);
    default:
      return config.coordination satisfies never;
  }
}

async function openEmbedded(options: CoordinationOptions): Promise<OpenCoordination> {
  const { config, node, seal, folder, isNew } = options;
  const path = join(folder, 'consensus.json');
  const acceptor = await openAcceptorStore({ path, cluster: config.id, node: node.name });
  // A voter that forgot its promises could let two leaders be chosen.
  if (acceptor.isNew && !isNew) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${path} is gone, so this node no longer knows what it voted for. Put the file back, or stop all nodes and see "A voter lost its file" in docs/internals/consensus.md.`,
      { details: { folder } },
    );
  }
  const others = config.nodes.filter((other) => other.name !== node.name);
  const registers = createEmbeddedCoordination({
    voters: config.nodes.map((voter) => voter.name),
    proposerId: `${node.name}-${randomUUID()}`,
    watchIntervalMs: WATCH_INTERVAL_MS,
    transport: createHttpTransport({
      self: node.name,
      acceptor,
      peerUrls: new Map(others.map((other) => [other.name, agentUrl(other)])),
      seal,
    }),
  });
  acceptor.onAccepted((key) => registers.notify(key));
  return {
    registers,
    vote: (message) => acceptor.handle(message),
    close: async () => {
      await registers.close();
      await acceptor.close();
    },
  };
}

/** The cluster's id is part of the keys: two clusters never meet in one etcd, whatever their prefix. */
function openEtcd(clusterId: string, etcd: EtcdConfig): OpenCoordination {
  const { endpoints, username, password, tls } = etcd;
  const prefix = `${etcd.prefix}${clusterId}/`;
  const registers = createEtcdCoordination({ endpoints, prefix, username, password, tls });
  return { registers, vote: null, close: () => registers.close() };
}

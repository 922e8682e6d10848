import { setTimeout as delay } from 'node:timers/promises';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import type { NodesAnswer } from '../../leader-follower/config/node-schema.ts';
import type { Topology } from '../../model/topology.ts';

/** Nodes of a local cluster that came or went. */
export interface NodeChanges {
  /** The nodes that there are now. */
  readonly config: ClusterConfig;
  /** For cluster.json: with all that founded the cluster, for agents with an empty folder begin by asking them. */
  readonly kept: ClusterConfig;
  readonly added: readonly NodeConfig[];
}

/** What the cluster's own list has that its cluster.json has not, and the other way round; null when nothing. */
export function findNodeChanges(config: ClusterConfig, told: Pick<NodesAnswer, 'nodes'>): NodeChanges | null {
  const added = told.nodes
    .filter(({ name }) => config.nodes.every((node) => node.name !== name))
    .map(newcomer);
  const removed = config.nodes.filter((node) => told.nodes.every(({ name }) => name !== node.name));
  const fixedPorts = config.fixedPorts || haveVotesChanged(config, told.nodes);
  if (added.length === 0 && removed.length === 0 && fixedPorts === config.fixedPorts) return null;
  const without = (gone: readonly NodeConfig[]): ClusterConfig => ({
    ...config,
    fixedPorts,
    nodes: [...config.nodes.filter((node) => !gone.includes(node)), ...added],
  });
  return { config: without(removed), kept: without(removed.filter((node) => !node.voter)), added };
}

function haveVotesChanged(config: ClusterConfig, told: readonly Told[]): boolean {
  return config.nodes.some((node) => {
    const same = told.find(({ name }) => name === node.name);
    return same === undefined ? node.voter : same.voter !== undefined && same.voter !== node.voter;
  });
}

/** What both a list of nodes and a picture of the cluster tell. */
interface Told {
  readonly name: string;
  readonly voter?: boolean;
}

/** Its priority is in the cluster's list, and does not count here. */
function newcomer({ name, host, port, agentPort, witness, delay, from }: NodeConfig): NodeConfig {
  const failoverPriority = witness || delay !== undefined ? 0 : 1;
  // It did not found the cluster. Whether it votes, the cluster's list says.
  const listed = { name, host, port, agentPort, failoverPriority, witness, voter: false };
  return {
    ...listed,
    ...(delay === undefined ? {} : { delay }),
    ...(from === undefined ? {} : { from }),
  };
}

const ASK_PAUSE_MS = 500;

/**
 * Learns of nodes that came or went. The picture that agents show to everyone only hints at it: whoever took a dead
 * agent's port may paint one. What counts is what an agent of this cluster says under its seal.
 */
export class NodeWatch {
  readonly #config: () => ClusterConfig;
  readonly #ask: () => Promise<NodesAnswer | null>;
  readonly #onNodes: (answer: NodesAnswer) => void;
  #version = 0;
  #isRunning = false;
  #isHinted = false;
  #isClosed = false;

  /** `ask` gives the newest sealed answer, or null when no agent gave one. */
  constructor(options: {
    readonly config: () => ClusterConfig;
    readonly ask: () => Promise<NodesAnswer | null>;
    readonly onNodes: (answer: NodesAnswer) => void;
  }) {
    this.#config = options.config;
    this.#ask = options.ask;
    this.#onNodes = options.onNodes;
  }

  hint(topology: Topology): void {
    const config = this.#config();
    const isSame =
      topology.nodes.length === config.nodes.length &&
      topology.nodes.every(({ name }) => config.nodes.some((node) => node.name === name)) &&
      (config.fixedPorts || !haveVotesChanged(config, topology.nodes));
    if (isSame || this.#isClosed) return;
    this.#isHinted = true;
    if (!this.#isRunning) void this.#run();
  }

  close(): void {
    this.#isClosed = true;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isHinted && !this.#isClosed) {
      this.#isHinted = false;
      const answer = await this.#ask().catch(() => null);
      if (this.#isClosed) return;
      if (answer === null) this.#isHinted = true;
      else if (answer.version > this.#version) {
        this.#version = answer.version;
        this.#onNodes(answer);
      }
      // Hints may come as often as somebody likes.
      await delay(ASK_PAUSE_MS, undefined, { ref: false });
    }
    this.#isRunning = false;
  }
}

import { LockstepError } from '../../model/errors.ts';
import { othersOf } from '../config/config.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import type { EventLog } from '../report/event-log.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';

/** Brings this node up to date when nodes come and go, and knows whether it is one of them itself. */
export class Membership {
  readonly #config: ClusterConfig;
  readonly #node: NodeConfig;
  readonly #register: RegisterReader;
  readonly #local: LocalPort;
  readonly #peers: PeersPort;
  readonly #events: EventLog;
  #used: readonly NodeConfig[] | null = null;

  constructor(options: {
    /** See live-config.ts. */
    readonly config: ClusterConfig;
    readonly node: NodeConfig;
    readonly register: RegisterReader;
    readonly local: LocalPort;
    readonly peers: PeersPort;
    readonly events: EventLog;
  }) {
    this.#config = options.config;
    this.#node = options.node;
    this.#register = options.register;
    this.#local = options.local;
    this.#peers = options.peers;
    this.#events = options.events;
  }

  /**
   * Links to the others, and PostgreSQL lets them in. False while this node is not to take part yet. Throws
   * CONFIG_INVALID when it never is: it was removed, or listed with another address.
   */
  async keep(): Promise<boolean> {
    const { state } = this.#register.known;
    // Nobody has changed the nodes, or nothing could be read yet.
    if (state?.nodes === undefined) return true;
    const { name } = this.#node;
    const { nodes } = this.#config;
    const listed = nodes.find((node) => node.name === name);
    if (listed === undefined) {
      checkNotRemoved(this.#node, state);
      this.#events.addSeldom(
        'nodes',
        `${name} is no node of this cluster yet: add it with "lockstep node add ${name}"`,
      );
      return false;
    }
    checkAddress(this.#node, listed);
    if (nodes === this.#used) return true;
    this.#peers.use(othersOf(this.#config, name));
    try {
      await this.#local.nodesChanged();
      this.#used = nodes;
    } catch (error) {
      // A disk that takes no file must not keep this node from anything else: it is tried again each round.
      this.#events.addSeldom('error', `pg_hba.conf could not be written: ${(error as Error).message}`);
    }
    return true;
  }
}

/** Throws RemovedError for a node that was one of the cluster, and never will be again. */
export function checkNotRemoved({ name }: NodeConfig, state: ClusterState | null): void {
  if (state?.removedNodes?.includes(name) === true) throw new RemovedError(name);
}

/** This node is none of the cluster any more: its agent has nothing left to do. */
export class RemovedError extends LockstepError {
  constructor(name: string) {
    super(
      'CONFIG_INVALID',
      `${name} was removed from the cluster, so its agent ends, and its PostgreSQL with it. Its folder is left as it is; remove it when you do not need it. To use this machine again, add it under another name.`,
    );
  }
}

/** Others would look for it elsewhere. */
function checkAddress(own: NodeConfig, listed: NodeConfig): void {
  const isSame = own.host === listed.host && own.port === listed.port && own.agentPort === listed.agentPort;
  if (isSame) return;
  const describe = (node: NodeConfig): string =>
    `${node.host} with the ports ${node.port} and ${node.agentPort}`;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${own.name} was added at ${describe(listed)}, and cluster.json here says ${describe(own)}. Correct cluster.json, or take ${own.name} out of it: then its agent asks the others.`,
  );
}

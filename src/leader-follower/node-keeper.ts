import { isIP } from 'node:net';
import { z } from 'zod';
import { LockstepError } from '../model/errors.ts';
import { parseNodeId } from '../model/node.ts';
import type { NodeId } from '../model/node.ts';
import type { ClusterConfig } from './config.ts';
import type { ClusterState, ListedNode } from './core/cluster-state.ts';
import { addNode, leaveNode, nodesThatLeft, withoutNodes } from './core/node-list.ts';
import { parseSynchronousStandbyNames } from './core/sync-set.ts';
import type { EventLog } from './event-log.ts';
import type { LeadershipRegister } from './leadership.ts';

/** What `POST /v1/nodes` takes. */
export type NodeCommand =
  { readonly kind: 'add'; readonly node: ListedNode } | { readonly kind: 'remove'; readonly name: string };

const port: z.ZodType<number> = z.int().min(1).max(65_535);

const schema: z.ZodType<NodeCommand> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('add'),
    node: z.strictObject({
      name: z.string().transform(parseNodeId),
      host: z.string().refine(isHost, 'expected an address or a name, without port or scheme'),
      port,
      agentPort: port,
      failoverPriority: z.int().min(0).max(1_000),
    }),
  }),
  z.strictObject({ kind: z.literal('remove'), name: z.string().max(100) }),
]);

/** Checks what came over the network. Throws CONFIG_INVALID that names the first wrong field. */
export function parseNodeCommand(value: unknown): NodeCommand {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new LockstepError(
    'CONFIG_INVALID',
    `The node's ${issue?.path.at(-1)?.toString() ?? 'description'} is not valid: ${issue?.message ?? 'unknown'}. Correct it; nothing was changed.`,
  );
}

/** All addresses of a machine (0.0.0.0) are none at which others reach it. */
function isHost(text: string): boolean {
  if (isIP(text) !== 0) return text !== '0.0.0.0' && text !== '::';
  return /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text) && !/^[0-9.]+$/.test(text);
}

/** As the leader: changes the list of nodes that do not vote, in the register that also says who leads. */
export class NodeKeeper {
  readonly #self: NodeId;
  readonly #seed: ClusterConfig;
  readonly #register: LeadershipRegister;
  readonly #events: EventLog;

  constructor(options: {
    readonly self: NodeId;
    /** cluster.json, whatever came and went since. */
    readonly seed: ClusterConfig;
    readonly register: LeadershipRegister;
    readonly events: EventLog;
  }) {
    this.#self = options.self;
    this.#seed = options.seed;
    this.#register = options.register;
    this.#events = options.events;
  }

  /**
   * Adds a node, or begins to remove one: {@link step} ends that. Throws CONFIG_INVALID and NOT_LEADER with nothing
   * changed, and QUORUM_NOT_REACHED when it is not known whether anything was.
   */
  async change(command: NodeCommand): Promise<void> {
    const { state } = this.#register.known;
    const isLeading = this.#register.ownLease.kind === 'held' && state?.systemIdentifier != null;
    if (!isLeading) {
      throw new LockstepError('NOT_LEADER', `${this.#self} does not lead; ask the leader to change nodes.`, {
        retryable: true,
      });
    }
    const { nodes } = this.#seed;
    const apply = (current: ClusterState): ClusterState =>
      command.kind === 'add'
        ? addNode(nodes, current, command.node)
        : leaveNode(nodes, current, command.name, this.#self);
    if (!(await this.#register.update(apply))) {
      throw new LockstepError(
        'QUORUM_NOT_REACHED',
        'It is not known whether the nodes were changed. See "lockstep node list", and try again once a majority of the agents answers.',
        { outcome: 'unknown', retryable: true },
      );
    }
    this.#events.add(
      'nodes',
      command.kind === 'add'
        ? `${command.node.name} was added, at ${command.node.host}:${command.node.port}`
        : `${command.name} is to be removed`,
    );
  }

  /** Takes those out of the list that nobody counts on any more. `standbyNames`: what PostgreSQL waits for now. */
  async step(standbyNames: string): Promise<void> {
    const { state } = this.#register.known;
    if (state === null) return;
    const names = parseSynchronousStandbyNames(standbyNames);
    const left = nodesThatLeft(state, this.#self, names);
    if (left.length === 0) return;
    // Judged again on the state that is changed.
    const isRemoved = await this.#register.update((current) =>
      withoutNodes(current, nodesThatLeft(current, this.#self, names)),
    );
    if (isRemoved) this.#events.add('nodes', `${left.join(', ')} was removed`);
  }
}

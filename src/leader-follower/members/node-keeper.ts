import { formatDelay } from '../../model/duration.ts';
import { checkDelay } from '../delayed/core/delay.ts';
import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import type { NodeId } from '../../model/node.ts';
import type { BetweenRounds } from '../between-rounds.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { OpenCoordination } from '../config/coordination.ts';
import type { ClusterState, ListedNode, SyncPolicy } from '../core/cluster-state.ts';
import { hostSchema, portSchema } from '../config/node-schema.ts';
import { addNode, checkRemoval, leaveNode, nodesThatLeft, withoutNodes } from './core/node-list.ts';
import { grantVote, revokeVote, voterSetOf } from './core/voter-changes.ts';
import type { VoteReport } from './core/voter-changes.ts';
import { countedOthers } from '../core/sync-policy.ts';
import { parseSynchronousStandbyNames } from '../core/sync-set.ts';
import type { EventLog } from '../report/event-log.ts';
import type { VotersToCome } from '../leadership/coming-voters.ts';
import type { LeadershipHold } from '../leadership/leadership-hold.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import type { PeersPort } from '../ports.ts';
import type { NodeStatus } from '../report/status.ts';

/** What `POST /v1/nodes` takes. */
export type NodeCommand =
  | { readonly kind: 'add'; readonly node: ListedNode }
  | { readonly kind: 'remove' | 'grant-vote'; readonly name: string }
  /** With `isToBeRemoved` it keeps its vote where it could not be removed then. */
  | { readonly kind: 'revoke-vote'; readonly name: string; readonly isToBeRemoved?: boolean | undefined }
  | { readonly kind: 'policy'; readonly policy: SyncPolicy };

const schema: z.ZodType<NodeCommand> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('add'),
    node: z.strictObject({
      name: z.string().transform(parseNodeId),
      host: hostSchema,
      port: portSchema,
      agentPort: portSchema,
      failoverPriority: z.int().min(0).max(1_000),
      delay: z
        .string()
        .transform((text) => formatDelay(checkDelay(text)))
        .optional(),
      from: z.string().transform(parseNodeId).optional(),
    }),
  }),
  z.strictObject({
    kind: z.literal('policy'),
    policy: z.strictObject({
      followers: z.union([z.int().min(1).max(12), z.literal('all')]),
      degradeAfterMs: z.int().min(500).max(86_400_000).nullable(),
    }),
  }),
  z.strictObject({ kind: z.enum(['remove', 'grant-vote']), name: z.string().max(100) }),
  z.strictObject({
    kind: z.literal('revoke-vote'),
    name: z.string().max(100),
    isToBeRemoved: z.boolean().optional(),
  }),
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

const ASK_TIMEOUT_MS = 500;

/** As the leader: changes the list of nodes, and who of them votes, in the register that also says who leads. */
export class NodeKeeper {
  readonly #options: NodeKeeperOptions;
  readonly #self: NodeId;
  readonly #register: RegisterReader;
  readonly #hold: LeadershipHold;
  readonly #events: EventLog;

  constructor(options: NodeKeeperOptions) {
    this.#options = options;
    this.#self = options.self;
    this.#register = options.register;
    this.#hold = options.hold;
    this.#events = options.events;
  }

  /**
   * Adds a node, gives it a vote, takes that away, or begins to remove it: {@link step} ends that. Throws CONFIG_INVALID
   * and NOT_LEADER with nothing changed, and QUORUM_NOT_REACHED when it is not known whether anything was.
   */
  async change(command: NodeCommand): Promise<void> {
    if (command.kind === 'policy') return this.#setPolicy(command.policy);
    const { name } = command.kind === 'add' ? command.node : command;
    const { nodes: seed } = this.#options.seed;
    switch (command.kind) {
      case 'add':
        await this.#write((state) => addNode(seed, state, command.node));
        this.#events.add('nodes', `${name} was added, at ${command.node.host}:${command.node.port}`);
        break;
      case 'grant-vote':
        await this.#changeVoters((state, reports) => grantVote(seed, state, name, reports));
        this.#events.add('nodes', `${name} votes now`);
        break;
      case 'revoke-vote':
        await this.#changeVoters((state, reports) => {
          if (command.isToBeRemoved === true) checkRemoval(seed, state, name, this.#self);
          return revokeVote(seed, state, name, this.#self, reports);
        });
        this.#events.add('nodes', `${name} votes no more`);
        break;
      case 'remove':
        await this.#write((state) => leaveNode(seed, state, name, this.#self));
        this.#events.add('nodes', `${name} is to be removed`);
        break;
      default:
        command satisfies never;
    }
  }

  /** Recorded before anything goes by it: the sync set walks there step by step. */
  async #setPolicy({ followers, degradeAfterMs }: SyncPolicy): Promise<void> {
    const { config, peers } = this.#options;
    const joining = peers
      .reports()
      .filter(({ status }) => status !== null && !status.hasData)
      .map(({ node }) => node.name);
    const policy: SyncPolicy = { followers, degradeAfterMs, joining };
    await this.#write((state) => {
      const counted = countedOthers(config.nodes, this.#self, { ...policy, joining: [] });
      if (followers !== 'all' && followers > counted.length) {
        throw new LockstepError(
          'CONFIG_INVALID',
          `Commits cannot wait for ${followers} followers: ${counted.length} of the others may lead and follow the leader itself. Nothing was changed.`,
        );
      }
      return { ...state, policy };
    });
    const patience = degradeAfterMs === null ? 'however long that takes' : `for ${degradeAfterMs} ms at most`;
    this.#events.add('sync-set', `by the policy commits wait for ${followers} followers, ${patience}`);
  }

  async #write(change: (state: ClusterState) => ClusterState): Promise<void> {
    await this.#options.betweenRounds.ask(async () => {
      this.#checkLeading();
      if (!(await this.#hold.update(change))) throw unsettled();
    });
  }

  /** In the order that docs/internals/nodes.md tells; rounds go on while it waits. */
  async #changeVoters(
    change: (state: ClusterState, reports: readonly VoteReport[]) => ClusterState,
  ): Promise<void> {
    const state = this.#checkLeading();
    const reports = await this.#askAll();
    const next = change(state, reports);
    const names = (voterSetOf(next)?.voters ?? []).map((voter) => voter.name);
    const coming = await this.#hold.addComingVoters(names);
    if (coming === null) throw outrun();
    try {
      this.#checkLeading();
      if (!(await this.#options.coordination.carry(state.votersEpoch ?? 0))) {
        throw new LockstepError(
          'QUORUM_NOT_REACHED',
          'The present voters did not confirm in time what was agreed on; nothing was changed. Try again once a majority of them answers.',
          { retryable: true },
        );
      }
      await this.#options.betweenRounds.ask(async () => {
        this.#checkLeading();
        const isWritten = await this.#hold.changeVoters(coming, (current) => {
          if (current.votersEpoch !== state.votersEpoch) throw outrun();
          return change(current, reports);
        });
        if (!isWritten) throw unsettled();
      });
    } finally {
      this.#options.votersToCome.drop(coming);
    }
  }

  #checkLeading(): ClusterState {
    const { state } = this.#register.known;
    const { kind } = this.#hold.ownLease;
    if (kind === 'held' && state?.systemIdentifier != null) return state;
    if (kind === 'unsupported') {
      throw new LockstepError(
        'QUORUM_NOT_REACHED',
        'Too few of the voters, as they are or as they would be, hold this leader up right now; nothing was changed. See "lockstep status", and try again.',
        { retryable: true },
      );
    }
    throw new LockstepError('NOT_LEADER', `${this.#self} does not lead; ask the leader to change nodes.`, {
      retryable: true,
    });
  }

  async #askAll(): Promise<readonly VoteReport[]> {
    const { config, peers, coordination } = this.#options;
    return Promise.all(
      config.nodes.map(async ({ name, ...node }): Promise<VoteReport> => {
        if (name === this.#self) {
          const { acceptor } = coordination;
          return {
            name,
            isReachable: true,
            acceptor,
            obstacle: coordination.voteObstacle(),
            isFollowing: true,
          };
        }
        const status = await peers.ask({ name, ...node }, ASK_TIMEOUT_MS);
        return {
          name,
          isReachable: status !== null,
          acceptor: status?.acceptor,
          obstacle: status?.voteObstacle ?? null,
          isFollowing: status !== null && isFollowing(status),
        };
      }),
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
    const isRemoved = await this.#hold.update((current) =>
      withoutNodes(current, nodesThatLeft(current, this.#self, names)),
    );
    if (isRemoved) this.#events.add('nodes', `${left.join(', ')} was removed`);
  }
}

export interface NodeKeeperOptions {
  readonly self: NodeId;
  /** cluster.json, whatever came and went since. */
  readonly seed: ClusterConfig;
  /** See live-config.ts. */
  readonly config: ClusterConfig;
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly votersToCome: VotersToCome;
  readonly peers: PeersPort;
  readonly coordination: Pick<OpenCoordination, 'acceptor' | 'voteObstacle' | 'carry'>;
  readonly events: EventLog;
  readonly betweenRounds: BetweenRounds;
}

/** Its role is unknown for a moment whenever its PostgreSQL is slow to answer. */
function isFollowing({ role, state, hasData, following }: NodeStatus): boolean {
  return role === 'follower' || (state === 'running' && hasData && following !== null);
}

function outrun(): LockstepError {
  return new LockstepError(
    'CAS_CONFLICT',
    'Another change of votes is under way, and this one changed nothing. See "lockstep node list", and try again.',
    { retryable: true },
  );
}

function unsettled(): LockstepError {
  return new LockstepError(
    'QUORUM_NOT_REACHED',
    'It is not known whether the nodes were changed. See "lockstep node list", and try again once a majority of the agents answers.',
    { outcome: 'unknown', retryable: true },
  );
}

import type { Clock } from '../../model/clock.ts';
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import type { AgentVoterSet } from '../../coordination/embedded/agent-voters.ts';
import { openAcceptorStore } from '../../coordination/embedded/acceptor-store.ts';
import { doAllVote, seekAdmission, STANDING_PATH } from '../../coordination/embedded/admission.ts';
import type { AskStanding } from '../../coordination/embedded/admission.ts';
import { AgentSeal } from '../../coordination/agent-seal.ts';
import type { OPERATOR } from '../../coordination/agent-seal.ts';
import { askAgent } from '../../coordination/ask-agent.ts';
import type { Coordination } from '../../coordination/contract.ts';
import type { Standing } from '../../coordination/embedded/core/admission.ts';
import { createEmbeddedCoordination } from '../../coordination/embedded/embedded.ts';
import { createEtcdCoordination } from '../../coordination/etcd/etcd.ts';
import { createHttpTransport } from '../../coordination/embedded/http-transport.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import { agentUrl, findNode, voters } from './config.ts';
import type { ClusterConfig, EtcdConfig, NodeConfig } from './config.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import { CLUSTER_KEY } from '../leadership/register-reader.ts';
import { PLAN_KEY } from '../plan/plan-register.ts';
import { voterSetOf } from '../members/core/voter-changes.ts';

const ASK_TIMEOUT_MS = 1_000;
const MAX_STANDING_BYTES = 65_536;

/** Who makes this file in a node's folder says that the procedure for a lost vote was followed. */
const VOTE_ANEW_FILE = 'vote-anew';
/** What to do comes first: a terminal may cut the rest. */
function lostVote(name: NodeId): string {
  return `Give it a new vote with "lockstep node revoke-vote ${name}", then "lockstep node grant-vote ${name}". This node does not vote: its folder is new and the cluster is not, so that what it had promised is lost. Until it votes again one node less may fail.`;
}

/** Each tick reads the register anyway; the watch is for news in between, of which the own acceptor hears. */
const WATCH_INTERVAL_MS = 2_000;

/** The registers of this cluster, however they are agreed on. */
export interface OpenCoordination {
  readonly registers: Coordination;
  /** This node's vote; null where others than the agents vote. */
  readonly vote: ((message: SentMessage) => Promise<ConsensusReply>) | null;
  /** What the other voters may know of it; null where there are none. */
  readonly standing: (() => Standing) | null;
  /** The identity of this node's vote, by which the others are to know it; null where others than the agents vote. */
  readonly acceptor: string | null;
  /**
   * Confirms everything that was agreed on with the voters of this epoch, which a change of them waits for. False when
   * that could not be done.
   */
  carry(epoch: number): Promise<boolean>;
  /** Why this node's vote does not count now; null when it does, or where others than the agents vote. */
  voteObstacle(): string | null;
  close(): Promise<void>;
}

export interface CoordinationOptions {
  readonly clock: Clock;
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly seal: AgentSeal;
  /** The node's folder, and whether it was never used before. */
  readonly folder: string;
  readonly isNew: boolean;
  /** For people: why this node does not vote. */
  readonly onNoVote: (reason: string) => void;
}

/** What this node proves itself to the other agents with, or a person to all of them. */
export function openSeal(config: ClusterConfig, self: NodeId | typeof OPERATOR): AgentSeal {
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
      return openEtcd(config.id, config.coordination, options.clock);
    default:
      return config.coordination satisfies never;
  }
}

async function openEmbedded(options: CoordinationOptions): Promise<OpenCoordination> {
  const { config, node, seal, folder, isNew, clock } = options;
  const path = join(folder, 'consensus.json');
  const acceptor = await openAcceptorStore({ path, cluster: config.id, node: node.name, clock });
  // A voter that forgot its promises could let two leaders be chosen.
  if (acceptor.isNew && !isNew && node.voter) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${path} is gone, so this node no longer knows what it voted for. Put the file back. If it is lost, stop the agent and move the node's folder away: it is rebuilt, and "A voter that lost its file" in docs/internals/consensus.md says how it gets its vote back.`,
      { details: { folder } },
    );
  }
  const anew = join(folder, VOTE_ANEW_FILE);
  if (await isPresent(anew)) {
    await acceptor.admit();
    await rm(anew);
  }
  const closing = new AbortController();
  const others = voters(config).filter((other) => other.name !== node.name);
  const names = others.map((other) => other.name);
  const ask: AskStanding = (voter) =>
    askAgent<Standing>(seal, {
      to: voter,
      url: agentUrl(findNode(config, voter)),
      method: 'GET',
      path: STANDING_PATH,
      maxBytes: MAX_STANDING_BYTES,
      signal: AbortSignal.any([AbortSignal.timeout(ASK_TIMEOUT_MS), closing.signal]),
    });
  const isToVote = (): boolean =>
    acceptor.voters?.voters.some(({ name }) => name === node.name) ?? node.voter;
  // A node that came later votes when the register says so, by the identity of its file.
  if (node.voter) {
    void seekAdmission({
      acceptor,
      clock,
      others: names,
      ask,
      onLost: () => {
        if (!acceptor.standing.isAdmitted && isToVote()) options.onNoVote(lostVote(node.name));
      },
      signal: closing.signal,
    });
  }
  const urls = new Map(voters(config).map((voter) => [voter.name, agentUrl(voter)]));
  const useVoters = (set: AgentVoterSet): void => {
    urls.clear();
    for (const { name, url } of set.voters) urls.set(name, url);
    // Where it cannot be written, the acceptor tells so itself, and answers nobody.
    acceptor.learn(set).catch(() => undefined);
  };
  if (acceptor.voters !== null) useVoters(acceptor.voters);
  const registers = createEmbeddedCoordination({
    clock,
    voters: voters(config).map((voter) => voter.name),
    voterRegister: { key: CLUSTER_KEY, setOf: (value) => voterSetOf((value ?? null) as ClusterState | null) },
    knownVoters: acceptor.voters,
    onVoters: useVoters,
    proposerId: `${node.name}-${randomUUID()}`,
    watchIntervalMs: WATCH_INTERVAL_MS,
    transport: createHttpTransport({
      self: node.name,
      acceptor,
      urlOf: (voter) => urls.get(voter) ?? '',
      seal,
      clock,
    }),
  });
  acceptor.onAccepted((key) => registers.notify(key));
  return {
    registers: {
      read: (key) => registers.read(key),
      expectWrite: (key) => registers.expectWrite(key),
      watch: (key, listener) => registers.watch(key, listener),
      close: () => registers.close(),
      // Before this write no voter can have lost anything; see judgeNewcomer.
      compareAndSet: async (key, expectedVersion, value) =>
        key !== CLUSTER_KEY || expectedVersion > 0 || (await doAllVote(acceptor, names, ask))
          ? registers.compareAndSet(key, expectedVersion, value)
          : { kind: 'unknown', reason: 'not all nodes vote yet' },
    },
    vote: (message) => acceptor.handle(message),
    standing: () => acceptor.standing,
    acceptor: acceptor.id,
    carry: (epoch) => registers.carry(PLAN_KEY, epoch),
    voteObstacle: () => (isToVote() ? acceptor.obstacle : null),
    close: async () => {
      closing.abort();
      await registers.close();
      await acceptor.close();
    },
  };
}

/** The cluster's id is part of the keys: two clusters never meet in one etcd, whatever their prefix. */
function openEtcd(clusterId: string, etcd: EtcdConfig, clock: Clock): OpenCoordination {
  const { endpoints, username, password, tls } = etcd;
  const prefix = `${etcd.prefix}${clusterId}/`;
  const registers = createEtcdCoordination({ clock, endpoints, prefix, username, password, tls });
  return {
    registers,
    vote: null,
    standing: null,
    acceptor: null,
    carry: () => Promise.resolve(true),
    voteObstacle: () => null,
    close: () => registers.close(),
  };
}

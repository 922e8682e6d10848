import { setTimeout as delay } from 'node:timers/promises';
import { LockstepError } from '../model/errors.ts';
import { formatLsn } from '../model/lsn.ts';
import type { NodeId } from '../model/node.ts';
import type { ClusterEvent, NodeRole, Topology } from '../model/topology.ts';
import { reachableBinaries, resolveAccount } from '../postgres/account.ts';
import { findPostgres } from '../postgres/binaries.ts';
import { monotonicMs } from '../postgres/monotonic-clock.ts';
import { serveAgent } from './api.ts';
import type { AgentApi } from './api.ts';
import { agentUrl, findNode } from './config.ts';
import type { ClusterConfig, NodeConfig } from './config.ts';
import { openCoordination } from './coordination.ts';
import type { OpenCoordination } from './coordination.ts';
import { decide } from './core/decide.ts';
import { buildTopology } from './core/topology.ts';
import type { NodeReport } from './core/topology.ts';
import { EventLog } from './event-log.ts';
import { Executor } from './executor.ts';
import { CLUSTER_KEY, LeadershipRegister } from './leadership.ts';
import { LocalNode } from './local-node.ts';
import { Merits } from './merits.ts';
import { claimFolder } from './node-folder.ts';
import { observe } from './observer.ts';
import type { Observation } from './observer.ts';
import { Peers } from './peers.ts';
import { encodeHistory } from './status.ts';
import type { FenceReply, NodeStatus } from './status.ts';

const TICK_MS = 250;
/** An unchanged topology is told again this often. */
const PUBLISH_INTERVAL_MS = 1_000;
/** A failing action is tried again, but not in a tight loop. */
const RETRY_MS = 1_000;

export interface AgentOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly stateDir: string;
}

type Change = { topology: Topology } | { event: ClusterEvent };

interface SwitchoverRequest {
  readonly to: NodeId | null;
  readonly resolve: (result: { from: string; to: string; pausedMs: number }) => void;
  readonly reject: (error: unknown) => void;
}

/** One agent beside one PostgreSQL: observe, decide, act, until it is closed. */
export class Agent implements AgentApi {
  readonly #config: ClusterConfig;
  readonly #node: NodeConfig;
  readonly #coordination: OpenCoordination;
  readonly #register: LeadershipRegister;
  readonly #local: LocalNode;
  readonly #peers: Peers;
  readonly #events: EventLog;
  readonly #merits: Merits;
  readonly #executor: Executor;
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #closing = new AbortController();
  #wake: () => void = () => undefined;
  /** Null until the register was read once: a restarted node may have given its position to a candidate before. */
  #fencedAtVersion: number | null = null;
  #switchover: SwitchoverRequest | null = null;
  #last: Observation | null = null;
  #lastPublished = '';
  #publishedAtMs = 0;
  #lastError = '';
  #server: { close(): Promise<void> } | null = null;

  /** Opens the node's folder and finds PostgreSQL; touches nothing that belongs to another cluster. */
  static async open(options: AgentOptions): Promise<Agent> {
    const { config, stateDir } = options;
    const node = findNode(config, options.node);
    const account = await resolveAccount();
    const binaries = await reachableBinaries(await findPostgres(config.postgres), account);
    const { folder, isNew } = await claimFolder(stateDir, config, node.name, account);
    const coordination = await openCoordination({ config, node, folder, isNew });
    return new Agent(
      config,
      node,
      coordination,
      (onUnexpectedExit) => new LocalNode({ config, node, stateDir, binaries, account, onUnexpectedExit }),
    );
  }

  private constructor(
    config: ClusterConfig,
    node: NodeConfig,
    coordination: OpenCoordination,
    createLocal: (onUnexpectedExit: (reason: string) => void) => LocalNode,
  ) {
    const others = config.nodes.filter((other) => other.name !== node.name);
    const authorization = `Bearer ${config.secrets.agent}`;
    this.#config = config;
    this.#node = node;
    this.#coordination = coordination;
    this.#events = new EventLog(node.name);
    this.#events.subscribe((event) => this.#emit({ event }));
    this.#local = createLocal((reason) => {
      this.#events.add('stopped', `PostgreSQL stopped: ${reason}`);
      this.#wake();
    });
    this.#register = new LeadershipRegister({
      self: node.name,
      ttlMs: config.leaseTtlMs,
      coordination: coordination.registers,
      onDeadline: (deadlineMs) => this.#local.server.setDeadline(deadlineMs),
    });
    this.#peers = new Peers(others, authorization, () => this.#wake());
    this.#merits = new Merits({ config, node, local: this.#local, peers: this.#peers });
    this.#executor = new Executor({
      self: node.name,
      config,
      register: this.#register,
      local: this.#local,
      peers: this.#peers,
      events: this.#events,
      merits: this.#merits,
    });
    coordination.registers.watch(CLUSTER_KEY, () => this.#wake());
  }

  /** Runs until {@link close}. Throws CONFIG_INVALID when this node must not take part. */
  async run(): Promise<void> {
    this.#server = await serveAgent({
      api: this,
      host: this.#node.host,
      port: this.#node.agentPort,
      authorization: `Bearer ${this.#config.secrets.agent}`,
    });
    while (!this.#closing.signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      const pauseMs = await this.#tick();
      await Promise.race([
        woken,
        delay(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => undefined),
      ]);
    }
  }

  /** Stops PostgreSQL in order; a leader gives its lease up so that nobody has to wait for it. */
  async close(): Promise<void> {
    this.#closing.abort();
    const isLeading = this.#register.ownLease.kind === 'held';
    await this.#local.close();
    if (isLeading) {
      const answers = await Promise.all(
        this.#peers.reports().map((report) => this.#peers.ask(report.node, 300)),
      );
      const hasMajority =
        (1 + answers.filter((answer) => answer !== null).length) * 2 > this.#config.nodes.length;
      // Without them the agents' own consensus could only wait; etcd does not need them.
      if (hasMajority || this.#coordination.vote === null) await this.#register.release(null);
    }
    this.#register.drop();
    this.#merits.close();
    this.#peers.close();
    await this.#coordination.close();
    await this.#server?.close();
  }

  status(): NodeStatus {
    const { view, probe } = this.#last ?? { view: null, probe: null };
    const { state, detail } = this.#local.activity;
    const history =
      view?.local.kind === 'leader' || view?.local.kind === 'follower' ? view.local.history : null;
    return {
      cluster: this.#config.id,
      node: this.#node.name,
      role: this.#role(),
      state,
      detail,
      hasData: view?.localSystemIdentifier != null,
      term: this.#register.known.state?.leadership.term ?? 0,
      history: history === null ? null : encodeHistory(history),
      receivedLsn: probe === null ? null : formatLsn(probe.receivedLsn),
      replayedLsn: probe === null ? null : formatLsn(probe.replayedLsn),
      replayAgeMs: probe?.replayAgeMs ?? null,
      following: this.#local.following,
      isReceiving: probe?.isReceiving ?? false,
      version: this.#register.known.version,
      measures: this.#merits.own(),
    };
  }

  topology(): Topology {
    const own = this.status();
    const reports: NodeReport[] = this.#config.nodes.map((node) => {
      const isSelf = node.name === this.#node.name;
      const peer = this.#peers.reports().find((report) => report.node.name === node.name);
      const status = isSelf ? own : (peer?.status ?? null);
      return {
        name: node.name,
        host: node.host,
        port: node.port,
        agentUrl: agentUrl(node),
        isReachable: isSelf || peer?.isReachable === true,
        role: status?.role ?? 'unknown',
        state: status?.state ?? 'unreachable',
        detail: status?.detail ?? null,
        term: status?.term ?? 0,
        timeline: status?.history?.timeline ?? null,
        ancestors: status?.history?.ancestors ?? [],
        receivedLsn: status?.receivedLsn ?? null,
        replayedLsn: status?.replayedLsn ?? null,
        replayAgeMs: status?.replayAgeMs ?? null,
      };
    });
    const { version, state } = this.#register.known;
    const isOwn = state?.leadership.holder === this.#node.name;
    return buildTopology({
      cluster: this.#config.name,
      clusterId: this.#config.id,
      version,
      state,
      isLeaseExpired: isOwn ? this.#register.ownLease.kind === 'none' : this.#register.leaseExpiredForMs > 0,
      nodes: reports,
    });
  }

  events(): readonly ClusterEvent[] {
    return this.#events.recent;
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get vote(): AgentApi['vote'] {
    return this.#coordination.vote;
  }

  /** A candidate asks: cut off from the leader it wants to replace, and tell the position. */
  async fence(version: number): Promise<FenceReply> {
    const known = this.#register.known.version;
    if (known > version) return { kind: 'refused', reason: `the register is at version ${known} already` };
    if (this.#register.ownLease.kind === 'held') return { kind: 'refused', reason: 'this node leads' };
    // Before the position is read: from here on nothing may be received for this version's leader.
    this.#fencedAtVersion = Math.max(this.#fencedAtVersion ?? 0, version);
    const position = await this.#local.fencedPosition();
    if (position === null) return { kind: 'refused', reason: 'PostgreSQL does not run here' };
    return {
      kind: 'fenced',
      history: encodeHistory(position.history),
      receivedLsn: formatLsn(position.receivedLsn),
    };
  }

  /** Hands the leadership over; see Executor.switchover. */
  switchover(to: string | null): Promise<{ from: string; to: string; pausedMs: number }> {
    const target = to === null ? null : findNode(this.#config, to).name;
    if (target === this.#node.name) {
      throw new LockstepError('CONFIG_INVALID', `${target} leads already; name another node.`);
    }
    if (this.#switchover !== null) {
      throw new LockstepError('NOT_LEADER', 'A switchover is under way already; see "lockstep status".', {
        retryable: true,
      });
    }
    return new Promise((resolve, reject) => {
      this.#switchover = { to: target, resolve, reject };
      this.#wake();
    });
  }

  #role(): NodeRole {
    const local = this.#last?.view.local;
    if (local?.kind === 'leader' && this.#register.ownLease.kind === 'held') return 'leader';
    return local?.kind === 'follower' ? 'follower' : 'unknown';
  }

  /** One round of observe, decide, act. Returns how long to wait for the next. */
  async #tick(): Promise<number> {
    try {
      if (this.#switchover !== null) await this.#runSwitchover(this.#switchover);
      const observation = await this.#observe();
      const actions = decide(observation.view);
      for (const action of actions) {
        if (this.#closing.signal.aborted) return 0;
        await this.#executor.execute(action, observation);
      }
      this.#lastError = '';
      const isSteady = actions.every((action) => action.kind === 'lead');
      if (!isSteady) await this.#observe();
      if (isSteady) return TICK_MS;
      return actions.some((action) => action.kind === 'campaign') ? TICK_MS / 2 : 0;
    } catch (error) {
      if (error instanceof LockstepError && (error.code === 'CONFIG_INVALID' || error.code === 'INVARIANT'))
        throw error;
      const message = (error as Error).message;
      if (message !== this.#lastError && !this.#closing.signal.aborted) this.#events.add('error', message);
      this.#lastError = message;
      return RETRY_MS;
    }
  }

  async #observe(): Promise<Observation> {
    const version = this.#register.known.version;
    const observation = await observe({
      self: this.#node.name,
      nodes: this.#config.nodes.map((node) => node.name),
      register: this.#register,
      local: this.#local,
      peers: this.#peers,
      fencedAtVersion: this.#fencedAtVersion ?? Number.POSITIVE_INFINITY,
      hasRewindFailed: this.#executor.hasRewindFailed,
      merits: this.#merits,
    });
    if (this.#fencedAtVersion === null && observation.view.register !== null) {
      this.#fencedAtVersion = Math.max(version, observation.view.register.version);
    }
    this.#last = observation;
    this.#publish();
    return observation;
  }

  async #runSwitchover(request: SwitchoverRequest): Promise<void> {
    try {
      request.resolve(await this.#executor.switchover(request.to));
    } catch (error) {
      request.reject(error);
    } finally {
      this.#switchover = null;
    }
  }

  #publish(): void {
    const topology = this.topology();
    // The version moves with every renewal; that alone is no news. Silence is: it would look like a dead agent.
    const text = JSON.stringify({ ...topology, version: 0 });
    if (text === this.#lastPublished && monotonicMs() - this.#publishedAtMs < PUBLISH_INTERVAL_MS) return;
    this.#lastPublished = text;
    this.#publishedAtMs = monotonicMs();
    this.#emit({ topology });
  }

  #emit(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

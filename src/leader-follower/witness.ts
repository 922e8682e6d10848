import { setTimeout as delay } from 'node:timers/promises';
import { LockstepError } from '../model/errors.ts';
import { serveAgent } from './peers/api.ts';
import type { AgentApi } from './peers/api.ts';
import { findNode, othersOf } from './config/config.ts';
import type { ClusterConfig, NodeConfig } from './config/config.ts';
import { openCoordination, openSeal } from './config/coordination.ts';
import type { OpenCoordination } from './config/coordination.ts';
import { fenceRefusal } from './core/support.ts';
import { EventLog } from './report/event-log.ts';
import { Fence } from './leadership/fence.ts';
import { CLUSTER_KEY, LeadershipRegister } from './leadership/leadership.ts';
import { createLiveConfig } from './config/live-config.ts';
import { checkNotRemoved } from './members/membership.ts';
import { createMemberAnswers } from './members/member-answers.ts';
import type { MemberAnswers } from './members/member-answers.ts';
import { News } from './peers/news.ts';
import type { Change } from './peers/news.ts';
import { claimFolder } from './local/node-folder.ts';
import { Peers } from './peers/peers.ts';
import { PlanRegister } from './plan/plan-register.ts';
import { PromiseToLeader } from './leadership/promise-to-leader.ts';
import type { ReportSources } from './report/self-report.ts';
import type { FenceReply, FenceRequest } from './report/status.ts';

const TICK_MS = 250;

/** Never a leader, so never supported. */
const NO_SUPPORT = { untilMs: Number.NEGATIVE_INFINITY, failsafeUntilMs: Number.NEGATIVE_INFINITY };

/**
 * The agent of a node without PostgreSQL: it votes, supports the leader and fences as every member does, so
 * that two nodes with data and a witness survive the loss of any one. It has no data to lead with.
 */
export class Witness {
  readonly #config: ClusterConfig;
  readonly #node: NodeConfig;
  readonly #coordination: OpenCoordination;
  readonly #register: LeadershipRegister;
  /** It does nothing by it, and takes commands like every agent. */
  readonly #plan: PlanRegister;
  readonly #peers: Peers;
  readonly #events: EventLog;
  readonly #news = new News();
  readonly #answers: MemberAnswers;
  readonly #fence = new Fence();
  readonly #promise: PromiseToLeader;
  readonly #closing = new AbortController();
  #wake: () => void = () => undefined;
  #server: { close(): Promise<void> } | null = null;

  /** Opens the node's folder. Throws CONFIG_INVALID when it belongs to another cluster or lost its vote. */
  static async open(options: {
    readonly config: ClusterConfig;
    readonly node: string;
    readonly stateDir: string;
  }): Promise<Witness> {
    const { config, stateDir } = options;
    const node = findNode(config, options.node);
    const { folder, isNew } = await claimFolder(stateDir, config, node.name);
    const seal = openSeal(config, node.name);
    const events = new EventLog(node.name);
    const onNoVote = (reason: string): void => events.addSeldom('error', reason);
    const coordination = await openCoordination({ config, node, seal, folder, isNew, onNoVote });
    return new Witness(config, node, events, coordination);
  }

  private constructor(
    config: ClusterConfig,
    node: NodeConfig,
    events: EventLog,
    coordination: OpenCoordination,
  ) {
    this.#config = createLiveConfig(config, () => this.#register.known.state);
    this.#node = node;
    this.#coordination = coordination;
    this.#events = events;
    this.#events.subscribe((event) => this.#news.tell(event));
    this.#register = new LeadershipRegister({
      self: node.name,
      ttlMs: config.leaseTtlMs,
      supportMs: config.supportMs,
      coordination: coordination.registers,
      support: () => NO_SUPPORT,
      onDeadlines: () => undefined,
      onTaking: () => undefined,
      onWon: () => undefined,
      onDeposed: () => undefined,
      onNewLeader: () => this.#promise.grant(config.supportMs),
    });
    this.#plan = new PlanRegister({
      check: async (command) => {
        if (command.kind !== 'set') return;
        throw new LockstepError(
          'CONFIG_INVALID',
          'A witness has no PostgreSQL to check settings with; ask another node.',
        );
      },
      coordination: coordination.registers,
      onChange: () => this.#wake(),
      onChanged: (message) => this.#events.add('plan', message),
    });
    this.#promise = new PromiseToLeader(config.supportMs, () => {
      this.#news.statusChanged();
      this.#wake();
    });
    this.#peers = new Peers(othersOf(config, node.name), openSeal(config, node.name), {
      onChange: () => this.#wake(),
      onPong: () => undefined,
      onDistrust: (reason) => this.#events.addSeldom('error', reason),
    });
    this.#answers = createMemberAnswers({
      coordination,
      register: this.#register,
      peers: this.#peers,
      events: this.#events,
      news: this.#news,
      fence: this.#fence,
      promise: this.#promise,
      describe: () => this.#sources(),
      wake: () => this.#wake(),
    });
    coordination.registers.watch(CLUSTER_KEY, () => this.#wake());
  }

  /** Runs until {@link close}. */
  async run(): Promise<void> {
    this.#server = await serveAgent({
      api: {
        ...this.#answers,
        ...this.#refusals(),
        plan: this.#plan,
        rescue: null,
        fence: async (request) => this.#fenceFor(request),
      },
      host: this.#node.host,
      port: this.#node.agentPort,
      seal: openSeal(this.#config, this.#node.name),
    });
    this.#events.add('started', 'votes as a witness');
    while (!this.#closing.signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      await this.#look();
      await Promise.race([
        woken,
        delay(TICK_MS, undefined, { signal: this.#closing.signal }).catch(() => undefined),
      ]);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#promise.close();
    this.#peers.close();
    await this.#coordination.close();
    await this.#server?.close();
  }

  /** Calls `listener` with each new topology and event. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.#news.subscribe(listener);
  }

  /** It has no position to tell; that it supports the holder of this version no more is what counts. */
  #fenceFor(request: FenceRequest): FenceReply {
    const refusal = fenceRefusal({
      ...request,
      knownVersion: this.#register.known.version,
      isLeading: false,
      hasLostLeader: this.#promise.lostForMs > 0,
    });
    if (refusal !== null) return { kind: 'refused', reason: refusal };
    this.#fence.raise(request.version);
    return { kind: 'fenced', position: null };
  }

  /** What needs a PostgreSQL. */
  #refusals(): Pick<AgentApi, 'prepare' | 'takeOver' | 'switchover' | 'restart' | 'reclone' | 'changeNodes'> {
    const { name } = this.#node;
    return {
      prepare: async () => ({ kind: 'refused', reason: 'it is a witness' }),
      takeOver: async () => ({ kind: 'refused', reason: 'it is a witness' }),
      changeNodes: async () => {
        throw new LockstepError('NOT_LEADER', `${name} is a witness; ask the leader to change nodes.`, {
          retryable: true,
        });
      },
      switchover: async () => {
        throw new LockstepError('NOT_LEADER', `${name} is a witness; ask the leader for the switchover.`, {
          retryable: true,
        });
      },
      reclone: () => {
        throw new LockstepError('CONFIG_INVALID', `${name} is a witness: it has no data.`);
      },
      restart: async () => {
        throw new LockstepError('CONFIG_INVALID', `${name} is a witness: it has no PostgreSQL.`);
      },
    };
  }

  async #look(): Promise<void> {
    const before = this.#register.known.version;
    const { version } = await this.#register.refresh().catch(() => ({ version: null }));
    checkNotRemoved(this.#node, this.#register.known.state);
    this.#peers.use(othersOf(this.#config, this.#node.name));
    // A restarted node may have fenced in an earlier life.
    if (!this.#fence.isKnown && version !== null) this.#fence.raise(Math.max(before, version));
    if (!this.#closing.signal.aborted) this.#news.publish(this.#answers.topology(), this.#answers.status());
  }

  #sources(): ReportSources {
    return {
      config: this.#config,
      self: this.#node.name,
      register: this.#register,
      plan: this.#plan.known,
      facts: null,
      local: null,
      last: null,
      hasLostLeader: this.#promise.lostForMs > 0,
      measures: undefined,
    };
  }
}

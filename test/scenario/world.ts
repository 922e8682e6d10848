import { expiredForMs, observeLease } from '../../src/coordination/core/lease.ts';
import { decide } from '../../src/leader-follower/core/decide.ts';
import type { Action } from '../../src/leader-follower/core/action.ts';
import { decideElection } from '../../src/leader-follower/core/elect.ts';
import type { ClusterState } from '../../src/leader-follower/core/cluster-state.ts';
import { decideSyncSet, syncSetForElection } from '../../src/leader-follower/core/sync-set.ts';
import type { LocalPostgres, PeerView, View } from '../../src/leader-follower/core/view.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId, Term } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { describeAction } from './model-node.ts';
import type { ModelNode } from './model-node.ts';

const TTL_MS = 1_000;
const TICK_MS = 100;

/**
 * The pure cores of a whole cluster over a model of streaming replication: what `decide` returns is done at
 * once. Time moves only by {@link tick}; nothing here is random.
 */
export class World {
  readonly nodes: ModelNode[];
  /** Synchronous commits that the leader acknowledged. */
  readonly acknowledged: string[] = [];
  readonly trace: string[] = [];
  register: { version: number; state: ClusterState | null } = { version: 0, state: null };
  nowMs = 0;
  #nonces = 0;
  #waiting: { readonly id: string; readonly leader: ModelNode; readonly lsn: number }[] = [];

  constructor(count: number) {
    this.nodes = Array.from({ length: count }, (_, index) => ({
      name: parseNodeId(`n${index + 1}`),
      isUp: true,
      isPaused: false,
      process: 'absent',
      log: [],
      history: { timeline: parseTimeline(1), ancestors: [] },
      following: null,
      fencedAtVersion: null,
      leaseUntilMs: 0,
      term: null,
      observation: null,
      synchronousNames: [],
      barrierAtMs: 0,
      barrierLsn: null,
    }));
  }

  node(name: string): ModelNode {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  leader(): ModelNode | undefined {
    return this.nodes.find(
      (node) => node.isUp && !node.isPaused && node.process === 'leader' && this.#isHeld(node),
    );
  }

  /** SIGKILL of agent and PostgreSQL: the log stays. */
  kill(name: string): void {
    const node = this.node(name);
    node.isUp = false;
    node.isPaused = false;
    if (node.process !== 'absent') this.#stopProcess(node);
    node.following = null;
    node.term = null;
    node.leaseUntilMs = 0;
    node.observation = null;
    node.fencedAtVersion = null;
    this.trace.push(`${name} killed`);
  }

  start(name: string): void {
    this.node(name).isUp = true;
    this.trace.push(`${name} agent started`);
  }

  pause(name: string): void {
    this.node(name).isPaused = true;
    this.trace.push(`${name} suspended`);
  }

  resume(name: string): void {
    this.node(name).isPaused = false;
    this.trace.push(`${name} resumed`);
  }

  /** A synchronous commit at a node that accepts writes, whether or not it still may. */
  commit(name: string, id: string): void {
    const node = this.node(name);
    if (!node.isUp || node.isPaused || node.process !== 'leader') return;
    node.log.push({ id });
    if (node.synchronousNames.length === 0) return;
    this.#waiting.push({ id, leader: node, lsn: node.log.length });
  }

  /** Streams up to `entries` commits to each follower that may receive, and acknowledges what enough hold. */
  stream(entries: number): void {
    for (const node of this.nodes) {
      const source = node.following === null ? undefined : this.node(node.following);
      if (!node.isUp || node.isPaused || node.process !== 'follower' || source === undefined) continue;
      const isSource = source.process === 'leader' || source.process === 'follower';
      if (!source.isUp || source.isPaused || !isSource) continue;
      node.history = source.history;
      node.log.push(...source.log.slice(node.log.length, node.log.length + entries));
    }
    this.#waiting = this.#waiting.filter((wait) => {
      if (!wait.leader.isUp || wait.leader.isPaused || wait.leader.process !== 'leader') return true;
      const holders = wait.leader.synchronousNames.filter((name) => {
        const follower = this.node(name);
        return (
          follower.following === wait.leader.name &&
          follower.process === 'follower' &&
          follower.log.length >= wait.lsn
        );
      });
      if (holders.length === 0) return true;
      this.acknowledged.push(wait.id);
      return false;
    });
  }

  /** One round of every agent that runs, in order. */
  tick(order: readonly string[] = this.nodes.map((node) => node.name)): void {
    this.nowMs += TICK_MS;
    for (const name of order) {
      const node = this.node(name);
      if (!node.isUp || node.isPaused) continue;
      this.#enforceDeadline(node);
      this.#renew(node);
      for (const action of decide(this.view(node))) this.#act(node, action);
    }
  }

  view(node: ModelNode): View {
    this.#observe(node);
    node.fencedAtVersion ??= this.register.version;
    const expiredMs = node.observation === null ? 0 : expiredForMs(node.observation, this.nowMs);
    return {
      self: node.name,
      founders: this.nodes.map((other) => other.name),
      register: this.register,
      ownLease:
        this.#isHeld(node) && node.term !== null ? { kind: 'held', term: node.term } : { kind: 'none' },
      isLeaseExpired: expiredMs > 0,
      leaseExpiredForMs: expiredMs,
      // Only leases are modelled here: a promise that stood longer than the lease would hold an election up.
      leaderLostForMs: expiredMs,
      isLeaderSuspected: false,
      writeFailingForMs: 0,
      fencedAtVersion: node.fencedAtVersion,
      local: this.#local(node),
      localSystemIdentifier: node.process === 'absent' ? null : 'cluster',
      peers: this.nodes.filter((other) => other !== node).map((other) => this.#peer(other)),
      canRewind: true,
      hasRewindFailed: false,
      failedPromotions: 0,
    };
  }

  #local(node: ModelNode): LocalPostgres {
    const lsn = BigInt(node.log.length) as Lsn;
    switch (node.process) {
      case 'absent':
        return { kind: 'absent' };
      case 'stopped':
        return { kind: 'stopped' };
      case 'leader':
        return { kind: 'leader', history: node.history, flushLsn: lsn };
      case 'follower': {
        const source = node.following === null ? undefined : this.node(node.following);
        const isReceiving = source?.isUp === true && ['leader', 'follower'].includes(source.process);
        return {
          kind: 'follower',
          history: node.history,
          receivedLsn: lsn,
          replayedLsn: lsn,
          endLsn: node.following === null ? lsn : null,
          following: node.following,
          isReceiving,
          stalledForMs: 0,
        };
      }
    }
  }

  #peer(node: ModelNode): PeerView {
    const isReachable = node.isUp && !node.isPaused;
    const isLeader = node.process === 'leader' && this.#isHeld(node);
    return {
      name: node.name,
      isReachable,
      hasData: node.process !== 'absent',
      role: isLeader ? 'leader' : node.process === 'follower' ? 'follower' : 'unknown',
      term: node.term ?? parseTerm(0),
      history: node.history,
      receivedLsn: BigInt(node.log.length) as Lsn,
      promotesFrom: this.#promotesFrom(node),
    };
  }

  #promotesFrom(node: ModelNode): PeerView['promotesFrom'] {
    if (node.process !== 'follower' || node.following !== null || !this.#isHeld(node)) return null;
    return { history: node.history, receivedLsn: BigInt(node.log.length) as Lsn };
  }

  #act(node: ModelNode, action: Action): void {
    if (action.kind !== 'lead' && action.kind !== 'keep-slots')
      this.trace.push(`${node.name} ${describeAction(action)}`);
    switch (action.kind) {
      case 'found-cluster':
        this.#take(
          node,
          parseTerm((this.register.state?.leadership.term ?? 0) + 1),
          { required: 1, members: [] },
          null,
        );
        return;
      case 'create-data-folder':
        node.process = 'stopped';
        return;
      case 'start':
        node.process = 'follower';
        node.following = null;
        return;
      case 'clone':
      case 'rewind': {
        const source = this.node(action.from);
        node.log = [...source.log];
        node.history = source.history;
        // A rewound folder is consistent only with what its source wrote meanwhile, so it starts attached.
        node.process = action.kind === 'rewind' ? 'follower' : 'stopped';
        node.following = action.kind === 'rewind' ? action.from : null;
        return;
      }
      case 'detach':
        node.following = null;
        return;
      case 'follow':
        node.following = action.leader;
        return;
      case 'campaign':
        return this.#campaign(node);
      case 'promote':
        return this.#promote(node);
      case 'lead':
        return this.#lead(node);
      case 'keep-slots':
      case 'restart':
        return;
      case 'demote':
        this.#stopProcess(node);
        node.leaseUntilMs = 0;
        return;
      case 'hand-over':
        this.#stopProcess(node);
        this.#write((state) => ({ ...state, leadership: { ...state.leadership, isReleased: true } }));
        node.leaseUntilMs = 0;
        return;
      case 'release':
        this.#write((state) => ({ ...state, leadership: { ...state.leadership, isReleased: true } }));
        node.leaseUntilMs = 0;
        return;
      case 'refuse':
        throw new Error(`${node.name} refused: ${action.reason}`);
    }
  }

  #campaign(node: ModelNode): void {
    const { version, state } = this.register;
    if (state === null) return;
    const heard = state.leadership.holder === node.name ? [] : this.nodes.filter((other) => other !== node);
    const positions = [node, ...heard]
      .filter((other) => other.isUp && !other.isPaused && other.process === 'follower')
      .map((other) => {
        other.following = null;
        other.fencedAtVersion = Math.max(other.fencedAtVersion ?? 0, version);
        return {
          node: other.name,
          history: other.history,
          receivedLsn: BigInt(other.log.length) as Lsn,
          newestTimeline: other.history.timeline,
        };
      });
    const decision = decideElection({
      self: node.name,
      sync: state.sync,
      lastHolder: state.leadership.holder,
      timeline: state.leadership.timeline,
      // A promotion is one step here, and recorded in it.
      announcedTimeline: null,
      positions,
    });
    this.trace.push(`${node.name}   ${decision.kind}: ${decision.reason}`);
    if (decision.kind !== 'stand') return;
    const others = this.nodes.filter((other) => other !== node).map((other) => other.name);
    const sync = syncSetForElection(state.sync, node.name, others);
    this.#take(node, parseTerm(state.leadership.term + 1), sync.recorded, state.leadership.timeline);
  }

  #promote(node: ModelNode): void {
    const state = this.register.state;
    if (state === null) return;
    node.following = null;
    node.process = 'leader';
    const newest = Math.max(...this.nodes.map((other) => other.history.timeline));
    node.history = {
      timeline: parseTimeline(newest + 1),
      ancestors: [
        ...node.history.ancestors,
        { timeline: node.history.timeline, forkedAt: BigInt(node.log.length) as Lsn },
      ],
    };
    this.#activate(
      node,
      state.sync.members.filter((name) => name !== node.name),
    );
    const timeline = node.history.timeline;
    this.#write((current) => ({
      ...current,
      systemIdentifier: 'cluster',
      leadership: { ...current.leadership, timeline },
    }));
  }

  #lead(node: ModelNode): void {
    const state = this.register.state;
    if (state === null) return;
    const hasSettled = this.nowMs - node.barrierAtMs >= 3 * TICK_MS;
    if (hasSettled) node.barrierLsn ??= BigInt(node.log.length) as Lsn;
    const step = decideSyncSet({
      self: node.name,
      recorded: state.sync,
      active: node.synchronousNames,
      followers: this.nodes
        .filter(
          (other) =>
            other.following === node.name && other.isUp && !other.isPaused && other.process === 'follower',
        )
        .map((other) => ({
          name: other.name,
          isStreaming: other.log.length === node.log.length,
          flushLsn: BigInt(other.log.length) as Lsn,
        })),
      recentlyStreaming: [],
      barrierLsn: node.barrierLsn,
    });
    if (step.kind === 'keep') return;
    this.trace.push(`${node.name}   ${step.kind} ${step.members.join(' ')}: ${step.reason}`);
    if (step.kind === 'record')
      this.#write((current) => ({ ...current, sync: { ...current.sync, members: step.members } }));
    else this.#activate(node, step.members);
  }

  #activate(node: ModelNode, names: readonly NodeId[]): void {
    node.synchronousNames = names;
    node.barrierAtMs = this.nowMs;
    node.barrierLsn = null;
  }

  #take(
    node: ModelNode,
    term: Term,
    sync: ClusterState['sync'],
    timeline: ClusterState['leadership']['timeline'],
  ): void {
    node.term = term;
    this.register = {
      version: this.register.version + 1,
      state: {
        systemIdentifier: this.register.state?.systemIdentifier ?? null,
        sync,
        leadership: {
          holder: node.name,
          term,
          nonce: this.#nonce(),
          ttlMs: TTL_MS,
          isReleased: false,
          successor: null,
          timeline,
        },
      },
    };
    node.leaseUntilMs = this.nowMs + TTL_MS;
  }

  #renew(node: ModelNode): void {
    if (this.#isHeld(node) && this.register.state?.leadership.holder === node.name) {
      this.#write((state) => state);
      node.leaseUntilMs = this.nowMs + TTL_MS;
    }
  }

  #write(change: (state: ClusterState) => ClusterState): void {
    const { version, state } = this.register;
    if (state === null) return;
    const changed = change(state);
    this.register = {
      version: version + 1,
      state: { ...changed, leadership: { ...changed.leadership, nonce: this.#nonce() } },
    };
  }

  #observe(node: ModelNode): void {
    const leadership = this.register.state?.leadership;
    if (leadership === undefined) return;
    const ttlMs = leadership.isReleased ? 0 : leadership.ttlMs;
    node.observation = observeLease(node.observation, { nonce: leadership.nonce, ttlMs }, this.nowMs);
  }

  #isHeld(node: ModelNode): boolean {
    const leadership = this.register.state?.leadership;
    return (
      node.term !== null &&
      this.nowMs < node.leaseUntilMs &&
      leadership?.holder === node.name &&
      leadership.term === node.term
    );
  }

  /** The watchdog: a leader whose lease ran out is stopped before its agent does anything else. */
  #enforceDeadline(node: ModelNode): void {
    if (node.process === 'leader' && this.nowMs >= node.leaseUntilMs) {
      this.#stopProcess(node);
      this.trace.push(`${node.name} watchdog: the lease ran out`);
    }
  }

  /** Sessions end with their server: what they waited for is never acknowledged to them. */
  #stopProcess(node: ModelNode): void {
    node.process = 'stopped';
    this.#waiting = this.#waiting.filter((wait) => wait.leader !== node);
  }

  #nonce(): string {
    return `nonce-${++this.#nonces}`;
  }
}

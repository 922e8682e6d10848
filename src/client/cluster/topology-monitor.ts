import type { Clock } from '../../model/clock.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { NodeTopology, Topology } from '../../model/topology.ts';
import { AgentFeeds } from './agent-feeds.ts';
import { ChangeWaiters } from './change-waiters.ts';
import type { ForkBounds } from './core/lost-write.ts';
import { addSample, seenBefore } from './core/freshness-clock.ts';
import type { LeaderSample } from './core/freshness-clock.ts';
import { isDeparted } from './core/membership.ts';
import type { Member } from './core/membership.ts';
import { advanceWatermark } from './core/watermark.ts';
import type { Watermark } from './core/watermark.ts';
import { contradicts, decideLeadership, NO_LEADERSHIP, preferNamed, viewNodes } from './core/leadership.ts';
import type { NodeKey } from '../../model/node.ts';
import type { AgentStatement, Leadership, Probe, ViewedNode } from './core/leadership.ts';
import { ForkWatch } from './fork-watch.ts';
import { createKnownNode, stopProbing, timelineOf } from './known-node.ts';
import type { KnownNode } from './known-node.ts';
import { MemberDirectory } from './members.ts';
import type { ProbeAnswer } from './node-probe.ts';
import type { ResolvedOptions } from '../app/options.ts';
import { commonErrorOf, describeNodes, firstErrorOf } from './why-unreached.ts';

/** Longer than any change of leadership after which servers and agents still say different things. */
const CONTRADICTED_MS = 5000;

/** Without a leader every millisecond counts. */
const SEARCH_INTERVAL_MS = 50;

/** What the owner of the connections does about changes. */
export interface TopologyListener {
  /** Another node leads, or none does where one did: nothing may be sent to `former` as the leader. */
  leaderChanged(former: NodeKey, leader: NodeKey): void;
  /** The server is silent: what waits for it may wait for ever. */
  nodeSilent(node: NodeKey, isLeader: boolean): void;
  /** Another server answers at the leader's address: no connection to it may be trusted to reach the leader. */
  leaderReplaced(node: NodeKey): void;
  /** Nobody names the address any more. */
  nodeGone(node: NodeKey): void;
}

/**
 * Knows who leads and how far the followers are, from plain SQL probes of every server and, where the
 * servers name their agents (`lockstep.agent_url`), from the agents' event streams.
 */
export class TopologyMonitor {
  /** What all times of its view are told by. */
  readonly clock: Clock;
  readonly #nodes = new Map<NodeKey, KnownNode>();
  readonly #agents: AgentFeeds;
  readonly #listener: TopologyListener;
  readonly #options: ResolvedOptions;
  readonly #directory: MemberDirectory;
  readonly #waiters: ChangeWaiters;
  readonly #forks: ForkWatch = new ForkWatch();
  #leadership: Leadership = NO_LEADERSHIP;
  #lastLeader: NodeKey | null = null;
  #view: readonly ViewedNode[] = [];
  #version = 0;
  #leaderSamples: readonly LeaderSample[] = [];
  #firstRound: Promise<void> | null = null;
  #started: Promise<void> | null = null;
  #contradictedSinceMs: number | null = null;
  #isStopped = false;
  #hasReached = false;

  constructor(options: ResolvedOptions, listener: TopologyListener) {
    const { clock } = options;
    this.clock = clock;
    this.#options = options;
    this.#listener = listener;
    this.#waiters = new ChangeWaiters(clock);
    this.#agents = new AgentFeeds(clock, (topology, isNews) => this.#hear(topology, isNews));
    this.#directory = new MemberDirectory(options.hosts, options.lookup, clock, () => this.#syncMembers());
    this.#syncMembers();
  }

  /** Starts probing once; resolves as soon as there is a leader, or every server was asked. */
  start(): Promise<void> {
    this.#started ??= Promise.race([this.#askAll(), this.#untilLed()]);
    return this.#started;
  }

  /** Starts probing once; resolves when every server has answered or was found down. */
  async whenAllAsked(): Promise<void> {
    await this.start();
    await this.#askAll();
  }

  stop(): void {
    this.#isStopped = true;
    this.#directory.stop();
    this.#agents.close();
    for (const node of this.#nodes.values()) stopProbing(node);
    this.#waiters.wake();
  }

  get leadership(): Leadership {
    return this.#leadership;
  }

  get view(): readonly ViewedNode[] {
    return this.#view;
  }

  /** Changes whenever {@link view} or {@link leadership} may have. */
  get version(): number {
    return this.#version;
  }

  /** The agents' name; without agents the host as the app wrote it, with its address where it has several. */
  nameOf(key: NodeKey): string {
    const node = this.#nodes.get(key);
    if (node === undefined) return key;
    if (node.name !== null) return node.name;
    const { serverName, port } = node.member;
    if (serverName === null) return key;
    const others = [...this.#nodes.values()].filter(({ member }) => member.serverName === serverName);
    return others.length === 1 ? `${serverName}:${port}` : `${serverName}/${key}`;
  }

  /** Where a node is and how it is to be reached; undefined when it is none of the cluster's any more. */
  memberOf(key: NodeKey): Member | undefined {
    return this.#nodes.get(key)?.member;
  }

  /** A position that the leader's log surely had before `atMs`; null when it was not asked in time. */
  leaderSeenBefore(atMs: number): Lsn | null {
    return seenBefore(this.#leaderSamples, atMs);
  }

  /** Where history left an older timeline; null while agents are about to tell. */
  forkOf(timeline: number): ForkBounds | null {
    const nowMs = this.clock.nowMs();
    return this.#forks.forkOf(timeline, this.#leadership.timeline, this.#agents.hasAny, nowMs);
  }

  watermarkOf(key: NodeKey): Watermark | null {
    return this.#nodes.get(key)?.watermark ?? null;
  }

  /** When a node was last asked what is known of it. */
  askedAtMs(key: NodeKey): number {
    return this.#nodes.get(key)?.askedAtMs ?? Number.NEGATIVE_INFINITY;
  }

  /** Whether each connection there leads to the same server: nothing in between chooses another. */
  isDirect(key: NodeKey): boolean {
    return this.#nodes.get(key)?.isDirect === true;
  }

  /** Since when the same server has surely run there; infinite when that is not known. */
  sameServerSinceMs(key: NodeKey): number {
    return this.#nodes.get(key)?.probe.connectedSinceMs ?? Number.POSITIVE_INFINITY;
  }

  /** Records a replay position that a follower told in answer to a question sent at `observedAtMs`. */
  observe(key: NodeKey, lsn: Lsn, observedAtMs: number): void {
    const node = this.#nodes.get(key);
    if (node?.isDirect === true) node.watermark = advanceWatermark(node.watermark, { lsn, observedAtMs });
  }

  /** Why each server cannot be used, for errors. */
  describeNodes(): Record<NodeKey, string> {
    return describeNodes(this.#nodes.values(), this.#directory.unresolved);
  }

  /** See {@link commonErrorOf}. */
  get commonError(): Error | null {
    return commonErrorOf([...this.#nodes.values()], this.#directory.unresolved);
  }

  /** See {@link firstErrorOf}. */
  get firstError(): Error | null {
    return firstErrorOf([...this.#nodes.values()], this.#directory.unresolved);
  }

  /** Whether any server has ever answered. */
  get hasReached(): boolean {
    return this.#hasReached;
  }

  /** Asks one server now; resolves when it has answered or been found down. */
  probeNow(key: NodeKey): Promise<void> {
    const node = this.#nodes.get(key);
    if (node === undefined || this.#isStopped) return Promise.resolve();
    node.running ??= this.#probe(node).finally(() => {
      node.running = null;
    });
    return node.running;
  }

  /** What a server process of the node waits for, asked over the probe's connection. */
  waitEventOf(key: NodeKey, pid: number): Promise<string | null> {
    return this.#nodes.get(key)?.probe.waitEventOf(pid) ?? Promise.resolve(null);
  }

  /** Resolves at the next news about any node, or after `timeoutMs`. It keeps the process alive. */
  nextChange(timeoutMs: number): Promise<void> {
    return this.#waiters.next(timeoutMs);
  }

  #askAll(): Promise<void> {
    this.#firstRound ??= this.#directory.start().then(async () => {
      await Promise.all([...this.#nodes.keys()].map((key) => this.probeNow(key)));
    });
    return this.#firstRound;
  }

  #syncMembers(): void {
    if (this.#isStopped) return;
    const { members } = this.#directory;
    for (const node of this.#nodes.values()) {
      if (members.has(node.key)) continue;
      this.#nodes.delete(node.key);
      stopProbing(node);
      if (node.agentUrl !== null) this.#agents.unsubscribe(node.agentUrl);
      this.#listener.nodeGone(node.key);
    }
    for (const member of members.values()) {
      const known = this.#nodes.get(member.key);
      if (known !== undefined) known.member = member;
      else this.#takeUp(member);
    }
    this.#refresh();
  }

  #takeUp(member: Member): void {
    const node = createKnownNode(member, this.#options);
    node.probe.onLost = (): void => void this.probeNow(node.key);
    this.#nodes.set(node.key, node);
    if (this.#firstRound !== null) void this.probeNow(node.key);
  }

  async #untilLed(): Promise<void> {
    while (this.#leadership.leader === null && !this.#isStopped) await this.#waiters.next();
  }

  async #probe(node: KnownNode): Promise<void> {
    node.callOffNextProbe?.();
    const answer = await node.probe.probe();
    if (this.#isStopped || this.#nodes.get(node.key) !== node) {
      node.probe.close();
      return;
    }
    this.#take(node, answer);
    this.#refresh();
    const { leader } = this.#leadership;
    if (leader === null) this.#directory.hurry();
    const delayMs = leader === null ? SEARCH_INTERVAL_MS : this.#options.limits.probeIntervalMs;
    node.callOffNextProbe = this.clock.after(delayMs, () => void this.probeNow(node.key));
  }

  #take(node: KnownNode, answer: ProbeAnswer): void {
    node.last = this.#isOwn(node, answer)
      ? answer.probe
      : { kind: 'down', reason: 'it is not the server that the agents mean' };
    node.askedAtMs = answer.sentAtMs;
    node.lastError = answer.error;
    if (node.last.kind !== 'up' || answer.probe.kind !== 'up') {
      node.watermark = null;
      if (answer.isTimeout) this.#listener.nodeSilent(node.key, node.key === this.#lastLeader);
      return;
    }
    this.#hasReached = true;
    const isDirect = answer.servedAt === (isSocket(node.member) ? null : node.key);
    this.#recogniseServer(node, answer.probe.server, isDirect);
    this.#forks.saw(node.key, answer.probe, timelineOf(node), this.clock.nowMs());
    if (!isDirect) node.watermark = null;
    node.agentUrl = answer.agentUrl;
    const { agentUrl, agentKey } = answer;
    if (agentUrl !== null && agentKey !== null) this.#agents.subscribe(agentUrl, agentKey);
    if (answer.probe.lsn === null) return;
    const { lsn, isInRecovery } = answer.probe;
    if (isInRecovery) this.observe(node.key, lsn, answer.sentAtMs);
    else if (node.key === this.#leadership.leader)
      this.#leaderSamples = addSample(this.#leaderSamples, { lsn, askedAtMs: answer.sentAtMs });
  }

  /** An address that only agents know may be another server's as seen from here: it must name an agent of theirs. */
  #isOwn(node: KnownNode, { probe, agentUrl }: ProbeAnswer): boolean {
    if (probe.kind !== 'up' || this.#directory.isListed(node.key)) return true;
    return this.#agents.topology?.nodes.some((told) => told.agentUrl === agentUrl) === true;
  }

  /**
   * A failover behind an address, or a restart, shows as another server; what the former one had reached is
   * void. Connections to a server's own address ended with it; those through something in between may not.
   */
  #recogniseServer(node: KnownNode, server: string | null, isDirect: boolean): void {
    const { server: former, isDirect: wasDirect } = node;
    node.server = server;
    node.isDirect = isDirect;
    if (former === null || former === server) return;
    node.watermark = null;
    const mayLeadToFormer = !(wasDirect && isDirect);
    if (mayLeadToFormer && node.key === this.#lastLeader) this.#listener.leaderReplaced(node.key);
  }

  #hear(topology: Topology, isNews: boolean): void {
    this.#forks.heard(topology);
    for (const told of topology.nodes) {
      const node = this.#find(told);
      if (node === null) continue;
      node.name = told.name;
      node.agentTimeline = told.timeline;
      node.isDelayed = told.kind === 'delayed';
    }
    this.#takeUpTold(topology);
    const former = this.#leadership;
    this.#refresh();
    if (isNews || former.leader !== this.#leadership.leader) {
      for (const key of this.#nodes.keys()) void this.probeNow(key);
    }
  }

  /** Once every server of the app's list was asked, it is known which of the agents' are on it under another name. */
  #takeUpTold(topology: Topology): void {
    void this.#askAll().then(() => {
      if (this.#isStopped || this.#agents.topology !== topology) return;
      const unknown = topology.nodes.filter(
        (told) => told.kind !== 'witness' && told.kind !== 'delayed' && this.#findListed(told) === null,
      );
      const rest = { zone: null, weight: 1 };
      this.#directory.tell(unknown.map(({ host, port }) => ({ host, port, ...rest })));
    });
  }

  #findListed(told: NodeTopology): KnownNode | null {
    const node = this.#find(told);
    return node !== null && this.#directory.isListed(node.key) ? node : null;
  }

  /** Agents and client may name one server differently; its agent's address settles it. */
  #find(told: NodeTopology): KnownNode | null {
    for (const node of this.#nodes.values()) if (node.agentUrl === told.agentUrl) return node;
    return this.#nodes.get(`${told.host}:${told.port}`) ?? null;
  }

  #refresh(): void {
    const former = this.#leadership;
    const probes = preferNamed(this.#probesWithAgentTimelines(), this.#departed());
    this.#leadership = decideLeadership({
      previous: former,
      probes,
      agents: this.#statement(former, probes),
    });
    const { leader, timeline } = this.#leadership;
    if (leader !== former.leader || timeline !== former.timeline) this.#leaderSamples = [];
    // Its past is there to undo mistakes: nobody reads it for the present.
    this.#view = viewNodes(this.#leadership, probes, this.#leaderSamples).map((node) =>
      this.#nodes.get(node.key)?.isDelayed === true ? { ...node, role: 'unknown' } : node,
    );
    this.#version += 1;
    if (leader !== null && leader !== this.#lastLeader) {
      const former = this.#lastLeader;
      this.#lastLeader = leader;
      if (former !== null) this.#listener.leaderChanged(former, leader);
    }
    this.#waiters.wake();
  }

  /** What the agents say, unless servers have contradicted it for long: then its news are old, or somebody's who repeats them. */
  #statement(previous: Leadership, probes: ReadonlyMap<NodeKey, Probe>): AgentStatement | null {
    const agents = this.#agents.statement((told) => this.#find(told)?.key ?? null);
    const isContradicted = agents !== null && contradicts({ previous, probes, agents });
    const nowMs = this.clock.nowMs();
    this.#contradictedSinceMs = isContradicted ? (this.#contradictedSinceMs ?? nowMs) : null;
    const forMs = nowMs - (this.#contradictedSinceMs ?? nowMs);
    return agents !== null && forMs > CONTRADICTED_MS ? { ...agents, isFresh: false } : agents;
  }

  #departed(): Set<NodeKey> {
    const departed = [...this.#nodes.values()].filter(({ member }) => isDeparted(member));
    return new Set(departed.map(({ key }) => key));
  }

  #probesWithAgentTimelines(): Map<NodeKey, Probe> {
    const probes = new Map<NodeKey, Probe>();
    for (const node of this.#nodes.values()) {
      const { key, last } = node;
      probes.set(key, last.kind === 'up' ? { ...last, timeline: timelineOf(node) } : last);
    }
    return probes;
  }
}

/** A local socket has no address, and leads to one server only. */
function isSocket({ address }: Member): boolean {
  return address.startsWith('/');
}

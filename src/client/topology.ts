import type { ClientConfig } from 'pg';
import type { Lsn } from '../model/lsn.ts';
import type { NodeTopology, Topology } from '../model/topology.ts';
import { AgentFeed } from './agent-feed.ts';
import { advanceWatermark } from './core/session.ts';
import type { Watermark } from './core/session.ts';
import { decideLeadership, NO_LEADERSHIP, viewNodes } from './core/topology.ts';
import type { AgentStatement, Leadership, NodeKey, Probe, ViewedNode } from './core/topology.ts';
import { NodeProbe } from './node-probe.ts';
import type { ProbeAnswer } from './node-probe.ts';
import type { ResolvedOptions } from './options.ts';

/** Without a leader every millisecond counts. */
const SEARCH_INTERVAL_MS = 50;

/** Enough that no single agent's death costs the news, whatever the cluster's size. */
const MAX_AGENT_FEEDS = 3;

/** What the owner of the connections does about changes. */
export interface TopologyListener {
  /** Another node leads, or none does where one did: nothing may be sent to `former` as the leader. */
  leaderChanged(former: NodeKey, leader: NodeKey): void;
  /** The server is silent: what waits for it may wait for ever. */
  nodeSilent(node: NodeKey, isLeader: boolean): void;
}

interface KnownNode {
  readonly key: NodeKey;
  readonly host: string;
  readonly port: number;
  readonly probe: NodeProbe;
  last: Probe;
  lastError: Error | null;
  agentUrl: string | null;
  /** What the agents call it; null without agents. */
  name: string | null;
  /** The timeline that the agents say it is on. */
  agentTimeline: number | null;
  watermark: Watermark | null;
  timer: NodeJS.Timeout | null;
  running: Promise<void> | null;
}

/**
 * Knows who leads and how far the followers are, from plain SQL probes of every server and, where the
 * servers name their agents (`lockstep.agent_url`), from the agents' event streams.
 */
export class TopologyMonitor {
  readonly #nodes = new Map<NodeKey, KnownNode>();
  readonly #feeds = new Map<string, AgentFeed>();
  readonly #listener: TopologyListener;
  readonly #probeIntervalMs: number;
  readonly #waiters = new Set<() => void>();
  #leadership: Leadership = NO_LEADERSHIP;
  #lastLeader: NodeKey | null = null;
  #topology: Topology | null = null;
  #view: readonly ViewedNode[] = [];
  #firstRound: Promise<void> | null = null;
  #started: Promise<void> | null = null;
  #isStopped = false;

  constructor(options: ResolvedOptions, listener: TopologyListener) {
    this.#listener = listener;
    this.#probeIntervalMs = options.limits.probeIntervalMs;
    for (const { host, port } of options.hosts) {
      const key = `${host}:${port}`;
      const node: KnownNode = {
        key,
        host,
        port,
        probe: new NodeProbe(probeConfig(options, host, port)),
        last: { kind: 'unknown' },
        lastError: null,
        agentUrl: null,
        name: null,
        agentTimeline: null,
        watermark: null,
        timer: null,
        running: null,
      };
      node.probe.onLost = (): void => void this.probeNow(key);
      this.#nodes.set(key, node);
    }
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
    for (const feed of this.#feeds.values()) feed.close();
    for (const node of this.#nodes.values()) {
      if (node.timer !== null) clearTimeout(node.timer);
      node.probe.close();
    }
    this.#wake();
  }

  get leadership(): Leadership {
    return this.#leadership;
  }

  get view(): readonly ViewedNode[] {
    return this.#view;
  }

  nameOf(key: NodeKey): string {
    return this.#nodes.get(key)?.name ?? key;
  }

  watermarkOf(key: NodeKey): Watermark | null {
    return this.#nodes.get(key)?.watermark ?? null;
  }

  /** Records a replay position that a follower told in answer to a question sent at `observedAtMs`. */
  observe(key: NodeKey, lsn: Lsn, observedAtMs: number): void {
    const node = this.#nodes.get(key);
    if (node !== undefined) node.watermark = advanceWatermark(node.watermark, { lsn, observedAtMs });
  }

  /** Why each server cannot be used, for errors. */
  describeNodes(): Record<NodeKey, string> {
    const lines = [...this.#nodes.values()].map(({ key, last }) => [key, describeProbe(last)] as const);
    return Object.fromEntries(lines);
  }

  /** The error of a server, when all of them failed: waiting does not help where none can be asked. */
  get commonError(): Error | null {
    let error: Error | null = null;
    for (const node of this.#nodes.values()) {
      if (node.last.kind !== 'down' || node.lastError === null) return null;
      error = node.lastError;
    }
    return error;
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
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }

  #askAll(): Promise<void> {
    this.#firstRound ??= Promise.all([...this.#nodes.keys()].map((key) => this.probeNow(key))).then(
      () => undefined,
    );
    return this.#firstRound;
  }

  async #untilLed(): Promise<void> {
    while (this.#leadership.leader === null && !this.#isStopped) await this.#nextWake();
  }

  #nextWake(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done);
        resolve();
      };
      this.#waiters.add(done);
    });
  }

  async #probe(node: KnownNode): Promise<void> {
    if (node.timer !== null) clearTimeout(node.timer);
    const answer = await node.probe.probe();
    if (this.#isStopped) {
      node.probe.close();
      return;
    }
    this.#take(node, answer);
    this.#refresh();
    const delayMs = this.#leadership.leader === null ? SEARCH_INTERVAL_MS : this.#probeIntervalMs;
    node.timer = setTimeout(() => void this.probeNow(node.key), delayMs);
    node.timer.unref();
  }

  #take(node: KnownNode, answer: ProbeAnswer): void {
    node.last = answer.probe;
    node.lastError = answer.error;
    if (answer.probe.kind === 'down') {
      node.watermark = null;
      if (answer.isTimeout) this.#listener.nodeSilent(node.key, node.key === this.#lastLeader);
      return;
    }
    node.agentUrl = answer.agentUrl;
    if (answer.agentUrl !== null) this.#subscribe(answer.agentUrl);
    if (answer.probe.kind === 'up' && answer.probe.isInRecovery && answer.probe.lsn !== null) {
      this.observe(node.key, answer.probe.lsn, answer.sentAtMs);
    }
  }

  #subscribe(agentUrl: string): void {
    if (this.#feeds.has(agentUrl) || this.#feeds.size >= MAX_AGENT_FEEDS || !URL.canParse(agentUrl)) return;
    this.#feeds.set(agentUrl, new AgentFeed(agentUrl, (topology) => this.#hear(topology)));
  }

  #hear(topology: Topology): void {
    if (this.#isStopped) return;
    const known = this.#topology;
    // A dead node's port may have gone to another cluster's agent.
    if (known !== null && (topology.clusterId !== known.clusterId || isOlder(topology, known))) return;
    this.#topology = topology;
    for (const told of topology.nodes) {
      const node = this.#find(told);
      if (node === null) continue;
      node.name = told.name;
      node.agentTimeline = told.timeline;
    }
    const former = this.#leadership;
    this.#refresh();
    const isNews = known === null || topology.term !== known.term || topology.leader !== known.leader;
    if (isNews || former.leader !== this.#leadership.leader) {
      for (const key of this.#nodes.keys()) void this.probeNow(key);
    }
  }

  /** Agents and client may name one server differently; its agent's address settles it. */
  #find(told: NodeTopology): KnownNode | null {
    for (const node of this.#nodes.values()) if (node.agentUrl === told.agentUrl) return node;
    return this.#nodes.get(`${told.host}:${told.port}`) ?? null;
  }

  #refresh(): void {
    const probes = this.#probesWithAgentTimelines();
    this.#leadership = decideLeadership({
      previous: this.#leadership,
      probes,
      agents: this.#agentStatement(),
    });
    this.#view = viewNodes(this.#leadership, probes);
    const { leader } = this.#leadership;
    if (leader !== null && leader !== this.#lastLeader) {
      const former = this.#lastLeader;
      this.#lastLeader = leader;
      if (former !== null) this.#listener.leaderChanged(former, leader);
    }
    this.#wake();
  }

  #probesWithAgentTimelines(): Map<NodeKey, Probe> {
    const probes = new Map<NodeKey, Probe>();
    for (const node of this.#nodes.values()) {
      const { last, agentTimeline } = node;
      const isFollower = last.kind === 'up' && last.isInRecovery;
      probes.set(
        node.key,
        isFollower && agentTimeline !== null
          ? { ...last, timeline: Math.max(last.timeline ?? 0, agentTimeline) }
          : last,
      );
    }
    return probes;
  }

  #agentStatement(): AgentStatement | null {
    const topology = this.#topology;
    if (topology === null) return null;
    const told = topology.nodes.find((node) => node.name === topology.leader);
    const leader = told === undefined ? null : (this.#find(told)?.key ?? null);
    return {
      term: topology.term,
      version: topology.version,
      leader,
      leaderTimeline: topology.timeline,
      isServing: told?.role === 'leader' && told.state === 'running' && topology.timeline !== null,
      isFresh: [...this.#feeds.values()].some((feed) => feed.isLive),
    };
  }

  #wake(): void {
    // A waiter takes itself off the set, which a Set's iteration allows.
    for (const waiter of this.#waiters) waiter();
  }
}

function isOlder(topology: Topology, known: Topology): boolean {
  return topology.term < known.term || (topology.term === known.term && topology.version < known.version);
}

function probeConfig(options: ResolvedOptions, host: string, port: number): ClientConfig {
  const { user, password, database, ssl, client_encoding } = options.connection;
  const config: ClientConfig = { host, port, application_name: 'lockstep-probe' };
  return Object.assign(config, dropUndefined({ user, password, database, ssl, client_encoding }));
}

function dropUndefined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function describeProbe(probe: Probe): string {
  switch (probe.kind) {
    case 'unknown':
      return 'not asked yet';
    case 'down':
      return probe.reason;
    case 'up':
      return probe.isInRecovery ? 'follower' : `writable on timeline ${probe.timeline ?? 'unknown'}`;
  }
}

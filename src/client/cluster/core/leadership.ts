import type { NodeKey } from '../../../model/node.ts';
import type { Lsn } from '../../../model/lsn.ts';
import { lagBytes } from '../../../model/lsn.ts';
import { freshAsOf } from './freshness-clock.ts';
import type { LeaderSample } from './freshness-clock.ts';

/** What the last probe of a node said. `timeline` is what is proven: a follower may be further. */
export type Probe =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'down'; readonly reason: string }
  | {
      readonly kind: 'up';
      readonly isInRecovery: boolean;
      /** Tells one start of one server from every other; null where it cannot be told. */
      readonly server: string | null;
      readonly timeline: number | null;
      /** Flushed on a leader, replayed on a follower; null where the server reports none. */
      readonly lsn: Lsn | null;
      readonly receivedLsn: Lsn | null;
      /** It leads, and lets transactions end because another is about to. */
      readonly isHandingOver?: boolean;
    };

/** The newest thing an agent told: the highest (term, version) over all subscriptions. */
export interface AgentStatement {
  readonly term: number;
  readonly version: number;
  readonly leader: NodeKey | null;
  readonly leaderTimeline: number | null;
  /** Whether the leader's agent says that its PostgreSQL accepts writes. */
  readonly isServing: boolean;
  /** Whether at least one agent is connected, so that news would have arrived. */
  readonly isFresh: boolean;
}

/** Who leads, and the highest term and timeline ever seen: neither ever goes down. */
export interface Leadership {
  readonly leader: NodeKey | null;
  readonly term: number;
  readonly timeline: number;
  readonly reason: string;
}

/** The state before anything was heard. */
export const NO_LEADERSHIP: Leadership = { leader: null, term: 0, timeline: 0, reason: 'nothing heard yet' };

export interface LeadershipInput {
  readonly previous: Leadership;
  readonly probes: ReadonlyMap<NodeKey, Probe>;
  readonly agents: AgentStatement | null;
}

/**
 * Decides which node takes writes. Agents are believed over probes, since they hold the lease; without
 * them the writable node on the highest timeline leads. A node on an older timeline, or named by an older
 * term, is never used again: it may be a former leader that was cut off or suspended. Two writable nodes
 * on one timeline are a split history, so that only the one already in use, or none, is taken.
 */
export function decideLeadership(input: LeadershipInput): Leadership {
  const { previous, agents } = input;
  if (agents !== null && agents.isFresh && agents.term >= previous.term)
    return leadershipByAgents(input, agents);
  return leadershipByProbes(input);
}

/**
 * Whether servers say something else of who leads than the agents do: one is writable on the newest timeline, and the
 * agents' leader, if they have one, is not. So it is for a moment when the leadership changes.
 */
export function contradicts(input: LeadershipInput & { readonly agents: AgentStatement }): boolean {
  const { agents, probes } = input;
  const proven = leadershipByProbes(input).leader;
  if (proven === null || proven === agents.leader) return false;
  const told = agents.leader === null ? undefined : probes.get(agents.leader);
  return told?.kind !== 'up' || told.isInRecovery;
}

function leadershipByAgents(input: LeadershipInput, agents: AgentStatement): Leadership {
  const { previous, probes } = input;
  const term = agents.term;
  const none = (reason: string): Leadership => ({ leader: null, term, timeline: previous.timeline, reason });
  if (agents.leader === null) return none('the agents have no leader');
  const probe = probes.get(agents.leader) ?? { kind: 'unknown' };
  if (probe.kind === 'down') return none(`${agents.leader} leads but is not reachable: ${probe.reason}`);
  const isWritable = probe.kind === 'up' && !probe.isInRecovery;
  if (isHandingOver(probe)) return none(handsOver(agents.leader));
  if (!isWritable && !agents.isServing) return none(`${agents.leader} is elected but not promoted yet`);
  const timeline = Math.max((isWritable ? probe.timeline : null) ?? 0, agents.leaderTimeline ?? 0);
  if (timeline < previous.timeline) return none(`${agents.leader} is on old timeline ${timeline}`);
  return { leader: agents.leader, term, timeline, reason: `the agents say so in term ${term}` };
}

function leadershipByProbes({ previous, probes }: LeadershipInput): Leadership {
  const { term } = previous;
  let timeline = previous.timeline;
  const writable: { key: NodeKey; timeline: number }[] = [];
  for (const [key, probe] of probes) {
    if (probe.kind !== 'up' || probe.isInRecovery) continue;
    if (isSameServerAsEarlier(key, probe, probes, previous.leader)) continue;
    // Where a service hides its timelines, one cannot be told from another.
    const on = probe.timeline ?? Math.max(previous.timeline, 1);
    writable.push({ key, timeline: on });
    timeline = Math.max(timeline, on);
  }
  const newest = writable.filter((candidate) => candidate.timeline === timeline);
  const incumbent = newest.find((candidate) => candidate.key === previous.leader);
  const chosen = incumbent ?? (newest.length === 1 ? newest[0] : undefined);
  if (chosen !== undefined && isHandingOver(probes.get(chosen.key)))
    return { leader: null, term, timeline, reason: handsOver(chosen.key) };
  if (chosen !== undefined)
    return { leader: chosen.key, term, timeline, reason: `writable on timeline ${timeline}` };
  return { leader: null, term, timeline, reason: reasonForNone(newest.length, writable.length, timeline) };
}

/** Whoever begins a transaction there now cannot write, and had better wait for the next leader. */
function isHandingOver(probe: Probe | undefined): boolean {
  return probe?.kind === 'up' && !probe.isInRecovery && probe.isHandingOver === true;
}

function handsOver(key: NodeKey): string {
  return `${key} lets transactions end, and hands the leadership over`;
}

/**
 * Whether another node is the very same server, reached at another address. The first of them stands for
 * all, or the one that leads.
 */
function isSameServerAsEarlier(
  key: NodeKey,
  probe: Probe,
  probes: ReadonlyMap<NodeKey, Probe>,
  leader: NodeKey | null,
): boolean {
  const server = probe.kind === 'up' ? probe.server : null;
  if (server === null || key === leader) return false;
  const leading = leader === null ? undefined : probes.get(leader);
  if (leading?.kind === 'up' && leading.server === server) return true;
  for (const [other, probed] of probes) {
    if (other === key) return false;
    if (probed.kind === 'up' && probed.server === server) return true;
  }
  return false;
}

/**
 * The probes without the writable nodes whose address nobody names any more, as long as another one is
 * writable: a name that moved to a new server tells that the old one is not to be written to.
 */
export function preferNamed(
  probes: ReadonlyMap<NodeKey, Probe>,
  departed: ReadonlySet<NodeKey>,
): ReadonlyMap<NodeKey, Probe> {
  const isWritable = (probe: Probe): boolean => probe.kind === 'up' && !probe.isInRecovery;
  const hasNamed = [...probes].some(([key, probe]) => !departed.has(key) && isWritable(probe));
  if (!hasNamed || departed.size === 0) return probes;
  const left: Probe = { kind: 'down', reason: 'its name belongs to another server now' };
  return new Map(
    [...probes].map(([key, probe]) => [key, departed.has(key) && isWritable(probe) ? left : probe]),
  );
}

function reasonForNone(newest: number, writable: number, timeline: number): string {
  if (newest > 1) return `${newest} nodes are writable on timeline ${timeline}`;
  return writable > 0 ? `only nodes older than timeline ${timeline} are writable` : 'no node is writable';
}

/** What routing needs to know about one node. */
export interface ViewedNode {
  readonly key: NodeKey;
  readonly role: 'leader' | 'follower' | 'unknown';
  readonly isUp: boolean;
  readonly timeline: number | null;
  readonly lsn: Lsn | null;
  /** Bytes of the leader's log not replayed here when both were last probed; null when unknown. */
  readonly lagBytes: number | null;
  /** Monotonic time as of which a follower surely shows all that was committed; null when unknown. */
  readonly freshAsOfMs: number | null;
}

/** Gives every node its role and lag under a leadership. */
export function viewNodes(
  leadership: Leadership,
  probes: ReadonlyMap<NodeKey, Probe>,
  samples: readonly LeaderSample[] = [],
): ViewedNode[] {
  const newest = newestLsn(leadership, probes);
  return [...probes].map(([key, probe]) => {
    const isAgain = isSameServerAsEarlier(key, probe, probes, leadership.leader);
    const viewed = viewNode(key, probe, leadership, newest, samples);
    // One server under two addresses would get twice its share of reads.
    return isAgain ? { ...viewed, role: 'unknown' } : viewed;
  });
}

function viewNode(
  key: NodeKey,
  probe: Probe,
  leadership: Leadership,
  newest: Lsn | null,
  samples: readonly LeaderSample[],
): ViewedNode {
  const nothing = {
    key,
    role: 'unknown',
    timeline: null,
    lsn: null,
    lagBytes: null,
    freshAsOfMs: null,
  } as const;
  if (key === leadership.leader) {
    const lsn = probe.kind === 'up' && !probe.isInRecovery ? probe.lsn : null;
    return { ...nothing, role: 'leader', isUp: true, timeline: leadership.timeline, lsn, lagBytes: 0 };
  }
  if (probe.kind !== 'up') return { ...nothing, isUp: false };
  const { lsn, timeline } = probe;
  if (!probe.isInRecovery) return { ...nothing, isUp: true, timeline, lsn };
  const lag = lsn === null || newest === null ? null : lagBytes(newest, lsn);
  // A position of another history proves nothing; nothing forked from the first timeline.
  const isOnTimeline = (timeline ?? 1) === leadership.timeline;
  const freshAsOfMs = lsn === null || !isOnTimeline ? null : freshAsOf(samples, lsn);
  return { key, role: 'follower', isUp: true, timeline, lsn, lagBytes: lag, freshAsOfMs };
}

/** The leader's position, or without a leader the furthest that any follower has received. */
function newestLsn({ leader }: Leadership, probes: ReadonlyMap<NodeKey, Probe>): Lsn | null {
  const leading = leader === null ? undefined : probes.get(leader);
  if (leading?.kind === 'up' && !leading.isInRecovery) return leading.lsn;
  let newest: Lsn | null = null;
  for (const probe of probes.values()) {
    if (probe.kind !== 'up' || !probe.isInRecovery) continue;
    const received = probe.receivedLsn ?? probe.lsn;
    if (received !== null && (newest === null || received > newest)) newest = received;
  }
  return newest;
}

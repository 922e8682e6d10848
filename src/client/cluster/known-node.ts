import type { GuardedClientConfig } from '../../wire/guarded-client.ts';
import type { Member } from './core/membership.ts';
import type { Watermark } from './core/watermark.ts';
import type { NodeKey } from '../../model/node.ts';
import type { Probe } from './core/leadership.ts';
import { authOf, connectionTo } from './members.ts';
import { NodeProbe } from './node-probe.ts';
import type { ResolvedOptions } from '../app/options.ts';

/** What is known of the server at one address. */
export interface KnownNode {
  readonly key: NodeKey;
  member: Member;
  readonly probe: NodeProbe;
  last: Probe;
  /** When the question was sent to which that is the answer. */
  askedAtMs: number;
  lastError: Error | null;
  agentUrl: string | null;
  /** What the agents call it; null without agents. */
  name: string | null;
  /** The timeline that the agents say it is on. */
  agentTimeline: number | null;
  /** It stays behind on purpose, as the agents say. */
  isDelayed: boolean;
  /** The last server that answered here. */
  server: string | null;
  /**
   * Whether the server has the very address that was connected to. Where it has not, something stands in
   * between that may lead each connection to another server.
   */
  isDirect: boolean;
  watermark: Watermark | null;
  callOffNextProbe: (() => void) | null;
  running: Promise<void> | null;
}

/** Starts out knowing nothing; no connection is opened yet. */
export function createKnownNode(member: Member, options: ResolvedOptions): KnownNode {
  return {
    key: member.key,
    member,
    probe: new NodeProbe(probeConfig(member, options), options.clock),
    last: { kind: 'unknown' },
    askedAtMs: Number.NEGATIVE_INFINITY,
    lastError: null,
    agentUrl: null,
    name: null,
    agentTimeline: null,
    isDelayed: false,
    server: null,
    isDirect: false,
    watermark: null,
    callOffNextProbe: null,
    running: null,
  };
}

export function stopProbing(node: KnownNode): void {
  node.callOffNextProbe?.();
  node.probe.close();
}

/** What is proven of a server's timeline; agents know more of a follower's than it tells itself. */
export function timelineOf({ last, agentTimeline }: KnownNode): number | null {
  if (last.kind !== 'up') return null;
  if (!last.isInRecovery || agentTimeline === null) return last.timeline;
  return Math.max(last.timeline ?? 0, agentTimeline);
}

/** What a connection of the pool's own needs to reach a server. */
export function probeConfig(member: Member, options: ResolvedOptions): GuardedClientConfig {
  const { user, password, database, ssl, sslnegotiation, enableChannelBinding, client_encoding } =
    options.account ?? options.connection;
  const config: GuardedClientConfig = {
    ...connectionTo(member, ssl),
    application_name: 'lockstep-probe',
    requireAuth: authOf(member, options.requireAuth),
  };
  const given = { user, password, database, sslnegotiation, enableChannelBinding, client_encoding };
  return Object.assign(config, dropUndefined(given));
}

function dropUndefined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** One line on a node for errors. */
export function describeProbe(probe: Probe): string {
  switch (probe.kind) {
    case 'unknown':
      return 'not asked yet';
    case 'down':
      return probe.reason;
    case 'up':
      return probe.isInRecovery ? 'follower' : `writable on timeline ${probe.timeline ?? 'unknown'}`;
  }
}

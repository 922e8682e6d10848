import { z } from 'zod';

import type { ClusterEvent, NodeTopology, Topology } from '../../model/topology.ts';
import type { SignedEvent } from '../../news/event.ts';
import type { ClusterChange } from '../source.ts';

const LSN = z.string().regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/);

/** Every field, also those that older agents leave out: one that is new must not come through unchecked. */
type Fields<T> = { readonly [Name in keyof Required<T>]: z.ZodType };

const NODE: z.ZodType<NodeTopology> = z.looseObject({
  name: z.string(),
  role: z.enum(['leader', 'follower', 'unknown']),
  state: z.enum(['running', 'starting', 'rejoining', 'stopped', 'unreachable']),
  detail: z.string().nullable(),
  host: z.string(),
  port: z.number(),
  agentUrl: z.string(),
  timeline: z.number().nullable(),
  receivedLsn: LSN.nullable(),
  replayedLsn: LSN.nullable(),
  lagBytes: z.number().nullable(),
  lagMs: z.number().nullable(),
  sync: z.boolean(),
  postgresVersion: z.string().nullable().exactOptional(),
  pendingRestart: z.array(z.string()).exactOptional(),
  kind: z.enum(['plain', 'cascading', 'delayed', 'witness']),
  follows: z.string().nullable().exactOptional(),
  delayMs: z.number().exactOptional(),
  besidesMs: z.number().nullable().exactOptional(),
  unreceivedBytes: z.number().nullable().exactOptional(),
  voter: z.boolean().exactOptional(),
} satisfies Fields<NodeTopology>);

const TOPOLOGY: z.ZodType<Topology> = z.looseObject({
  cluster: z.string(),
  clusterId: z.string(),
  topology: z.literal('leader-follower'),
  version: z.number(),
  term: z.number(),
  timeline: z.number().nullable(),
  forks: z.array(z.looseObject({ timeline: z.number(), forkedAt: LSN })).max(1000),
  leader: z.string().nullable(),
  isFailoverReady: z.boolean(),
  failoverObstacle: z.string().nullable().exactOptional(),
  isSwitchoverReady: z.boolean().exactOptional(),
  maintenance: z.object({ since: z.string(), reason: z.string().nullable() }).nullable().exactOptional(),
  plannedSwitchover: z.object({ at: z.string(), to: z.string().nullable() }).nullable().exactOptional(),
  syncPolicy: z
    .object({
      followers: z.union([z.number(), z.literal('all')]),
      degradeAfterMs: z.number().nullable(),
      isDegraded: z.boolean(),
      confirmedBy: z.number(),
      waitsFor: z.array(z.string()).max(1000).exactOptional(),
    })
    .exactOptional(),
  nodes: z.array(NODE).max(1000),
} satisfies Fields<Topology>);

const EVENT: z.ZodType<ClusterEvent> = z.looseObject({
  at: z.number(),
  node: z.string(),
  kind: z.enum([
    'started',
    'stopped',
    'elected',
    'promoted',
    'demoted',
    'fenced',
    'following',
    'rewound',
    'lost-writes',
    'cloned',
    'sync-set',
    'switchover',
    'leader-lost',
    'plan',
    'nodes',
    'rescue',
    'error',
  ]),
  message: z.string(),
} satisfies Fields<ClusterEvent>);

/** What an agent's message says; null for names that are not known here and for data that does not fit the model. */
export function parseAgentMessage(message: Pick<SignedEvent, 'event' | 'data'>): ClusterChange | null {
  const value = parseJson(message.data);
  if (message.event === 'topology') {
    const result = TOPOLOGY.safeParse(value);
    return result.success ? { kind: 'topology', topology: result.data } : null;
  }
  if (message.event === 'event') {
    const result = EVENT.safeParse(value);
    return result.success ? { kind: 'event', event: result.data } : null;
  }
  return null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

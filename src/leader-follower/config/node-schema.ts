import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import type { NodeId } from '../../model/node.ts';
import { checkDelay } from '../delayed/core/delay.ts';
import { upstreamProblem } from '../core/upstream.ts';
import { isHost } from '../../postgres/addresses.ts';

export interface NodeConfig {
  readonly name: NodeId;
  readonly host: string;
  /** PostgreSQL's port; 0 for a witness. */
  readonly port: number;
  readonly agentPort: number;
  /** 0 never leads; among equals in everything that is measured, the highest leads. Default 1. */
  readonly failoverPriority: number;
  /** It votes and supports the leader, and has no PostgreSQL. Its priority is 0. */
  readonly witness: boolean;
  /**
   * Whether it counts: for what agents agree on among themselves, and for who holds a leader up. Default true. The
   * voters founded the cluster; every other node may come and go while it runs.
   */
  readonly voter: boolean;
  /** Somebody asked for its removal; its priority is 0 then. Never in cluster.json. */
  readonly isLeaving?: boolean;
  /** How far it stays behind on purpose, like `1h`; missing where it does not. It never leads. See docs/followers.md. */
  readonly delay?: string | undefined;
  /** The follower that it streams from while that gets the leader's log; missing for the leader. */
  readonly from?: NodeId | undefined;
}

/** More than the 13 with data that node-list.ts allows, and as many witnesses. */
const MAX_NODES = 32;

export const portSchema: z.ZodType<number> = z.int().min(1).max(65_535);

/** It gets into pg_hba.conf, connection strings and URLs. */
export const hostSchema: z.ZodType<string> = z
  .string()
  .refine(isHost, 'expected an address or a name, without port or scheme');

const delaySchema: z.ZodType<string> = z.string().superRefine((text, context) => {
  try {
    checkDelay(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
  }
});

const nodeSchema: z.ZodType<NodeConfig> = z
  .strictObject({
    name: z.string().transform(parseNodeId),
    host: hostSchema,
    port: z.int().min(0).max(65_535).optional(),
    agentPort: portSchema,
    failoverPriority: z.int().min(0).max(1_000).optional(),
    witness: z.boolean().default(false),
    voter: z.boolean().optional(),
    delay: delaySchema.optional(),
    from: z.string().transform(parseNodeId).optional(),
    isLeaving: z.boolean().exactOptional(),
  })
  .refine((node) => node.witness === ((node.port ?? 0) === 0), {
    path: ['port'],
    message: "a node needs PostgreSQL's port, from 1 to 65535; a witness has none",
  })
  .refine((node) => !node.witness || (node.failoverPriority ?? 0) === 0, {
    path: ['failoverPriority'],
    message: 'a witness never leads',
  })
  .refine((node) => node.delay === undefined || (!node.witness && (node.failoverPriority ?? 0) === 0), {
    path: ['delay'],
    message: 'a delayed node has data and never leads: leave "witness" and "failoverPriority" out',
  })
  .refine((node) => node.from === undefined || (!node.witness && node.delay === undefined), {
    path: ['from'],
    message: 'a witness and a delayed node stream from no follower: leave "from" out',
  })
  .transform((node) => ({
    ...node,
    port: node.port ?? 0,
    failoverPriority: node.failoverPriority ?? (node.witness || node.delay !== undefined ? 0 : 1),
    voter: node.voter ?? node.delay === undefined,
  }));

export const nodesSchema: z.ZodArray<z.ZodType<NodeConfig>> = z
  .array(nodeSchema)
  .max(MAX_NODES)
  .superRefine((nodes, context) => {
    for (const node of nodes) {
      const reason = upstreamProblem(node, nodes);
      if (reason !== null) context.addIssue({ code: 'custom', message: reason });
    }
  });

const answerSchema: z.ZodType<NodesAnswer> = z.object({ version: z.int().min(0), nodes: nodesSchema });

/** What `GET` and `POST /v1/nodes` answer: all nodes as one agent knows them. */
export interface NodesAnswer {
  /** Of the register; the higher one is the newer truth. 0: not read yet, and the nodes are those of cluster.json. */
  readonly version: number;
  readonly nodes: readonly NodeConfig[];
}

/** Checks what an agent told of the nodes. Throws CONFIG_INVALID that names the first wrong field. */
export function parseNodesAnswer(value: unknown): NodesAnswer {
  const result = answerSchema.safeParse(value);
  if (result.success) return result.data;
  throw wrong(result.error, 'The list of nodes that an agent told');
}

/** Checks a node that was kept in a file. Throws CONFIG_INVALID that names the first wrong field. */
export function parseNode(value: unknown, origin: string): NodeConfig {
  const result = nodeSchema.safeParse(value);
  if (result.success) return result.data;
  throw wrong(result.error, origin);
}

function wrong({ issues }: z.ZodError, origin: string): LockstepError {
  const [issue] = issues;
  const where = issue?.path.join('.');
  return new LockstepError(
    'CONFIG_INVALID',
    `${origin} is not valid${where ? ` at "${where}"` : ''}: ${issue?.message ?? 'unknown'}.`,
  );
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LockstepError } from '../model/errors.ts';
import { parseNodeId } from '../model/node.ts';
import type { NodeId } from '../model/node.ts';

/** What every agent of a cluster is told; the same file on each machine, mode 0600. */
export interface ClusterConfig {
  /** Random; keeps files and agents of two clusters apart. */
  readonly id: string;
  readonly name: string;
  readonly nodes: readonly NodeConfig[];
  /** How long a leader may lead without renewing. */
  readonly leaseTtlMs: number;
  /** How many followers a synchronous commit waits for. */
  readonly synchronousFollowers: number;
  /** `auto`, `system`, `embedded` or the path of a bin folder. */
  readonly postgres: string;
  /** Networks that may connect besides this machine itself, as CIDR. */
  readonly allowedNetworks: readonly string[];
  readonly database: string;
  readonly appUser: string;
  readonly secrets: ClusterSecrets;
}

export interface NodeConfig {
  readonly name: NodeId;
  readonly host: string;
  /** PostgreSQL's port. */
  readonly port: number;
  readonly agentPort: number;
}

export interface ClusterSecrets {
  readonly superuser: string;
  readonly replication: string;
  readonly app: string;
  /** Bearer token between agents. */
  readonly agent: string;
}

const port: z.ZodType<number> = z.int().min(1).max(65_535);
const secret: z.ZodType<string> = z.string().min(16);

const schema: z.ZodType<ClusterConfig> = z.strictObject({
  id: z.string().min(1),
  name: z.string().min(1),
  nodes: z
    .array(
      z.strictObject({
        name: z.string().transform(parseNodeId),
        host: z.string().min(1),
        port: port,
        agentPort: port,
      }),
    )
    .min(1),
  leaseTtlMs: z.int().min(500).max(60_000).default(2_500),
  synchronousFollowers: z.int().min(1).default(1),
  postgres: z.string().default('auto'),
  allowedNetworks: z.array(z.string()).default([]),
  database: z.string().default('app'),
  appUser: z.string().default('app'),
  secrets: z.strictObject({ superuser: secret, replication: secret, app: secret, agent: secret }),
});

/** Checks a configuration. Throws CONFIG_INVALID that names the first wrong setting. */
export function parseClusterConfig(value: unknown, origin: string): ClusterConfig {
  const result = schema.safeParse(value);
  if (result.success) {
    const names = result.data.nodes.map((node) => node.name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice === undefined) return result.data;
    throw new LockstepError('CONFIG_INVALID', `${origin} names node ${twice} twice; names must differ.`);
  }
  const issue = result.error.issues[0];
  const where = issue?.path.join('.');
  throw new LockstepError(
    'CONFIG_INVALID',
    `${origin} is not valid${where ? ` at "${where}"` : ''}: ${issue?.message ?? 'unknown'}. Correct it and start again.`,
    { details: { origin, where } },
  );
}

/** Reads and checks `cluster.json`. Throws CONFIG_INVALID when it is missing, no JSON or not valid. */
export async function readClusterConfig(path: string): Promise<ClusterConfig> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${path} cannot be read. Start a cluster with "lockstep dev" first, or name its folder with --state.`,
      {
        cause: error,
      },
    );
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${path} is not JSON: ${(error as Error).message}. Correct it and start again.`,
      {
        cause: error,
      },
    );
  }
  return parseClusterConfig(value, path);
}

/** The configuration of one node. Throws CONFIG_INVALID for a name the cluster has not. */
export function findNode(config: ClusterConfig, name: string): NodeConfig {
  const node = config.nodes.find((candidate) => candidate.name === name);
  if (node) return node;
  throw new LockstepError(
    'CONFIG_INVALID',
    `There is no node "${name}" in cluster ${config.name}; it has ${config.nodes.map((candidate) => candidate.name).join(', ')}.`,
    { details: { name } },
  );
}

export function agentUrl(node: NodeConfig): string {
  return `http://${node.host}:${node.agentPort}`;
}

/** Where one node keeps everything: `data/`, `consensus.json` and its logs. */
export function nodeFolder(stateDir: string, name: NodeId): string {
  return join(stateDir, 'nodes', name);
}

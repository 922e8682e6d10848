import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import type { NodeId } from '../../model/node.ts';

/** What every agent of a cluster is told; the same file on each machine, mode 0600. */
export interface ClusterConfig {
  /** Random; keeps files and agents of two clusters apart. */
  readonly id: string;
  readonly name: string;
  /** Those that vote, and others, which come and go: see live-config.ts. */
  readonly nodes: readonly NodeConfig[];
  /** How long a leader may lead without renewing. Default 2500, with etcd 5000. */
  readonly leaseTtlMs: number;
  /** How long the members' answers to one ping hold a leader up; it is frozen and replaced without them. */
  readonly supportMs: number;
  /** How many followers a synchronous commit waits for. */
  readonly synchronousFollowers: number;
  /** `auto`, `system`, `embedded` or the path of a bin folder. */
  readonly postgres: string;
  /** Networks that may connect besides this machine itself, as CIDR. */
  readonly allowedNetworks: readonly string[];
  /** Where the agents agree on who leads. */
  readonly coordination: CoordinationConfig;
  /** A Linux watchdog device that resets a leader's machine; `off` by default. */
  readonly kernelWatchdog: KernelWatchdogConfig;
  /** Votes have changed, so that agents look for each other where the register says: `lockstep dev` moves no port then. */
  readonly fixedPorts: boolean;
  readonly database: string;
  readonly appUser: string;
  readonly secrets: ClusterSecrets;
}

export interface KernelWatchdogConfig {
  /** `automatic`: where it can be used. `required`: an agent does not run where it cannot. */
  readonly mode: 'off' | 'automatic' | 'required';
  readonly device: string;
  /** What the device's timeout is, where the kernel does not tell it. It is not set by this. */
  readonly timeoutMs?: number | undefined;
}

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
}

/** `embedded`: the agents vote among themselves. `etcd`: the team's etcd decides; see docs/internals/etcd.md. */
export type CoordinationConfig = { readonly kind: 'embedded' } | EtcdConfig;

export interface EtcdConfig {
  readonly kind: 'etcd';
  /** Members of one etcd cluster, 3.4 or later: `http(s)://host:port`. */
  readonly endpoints: readonly string[];
  /** What the keys begin with, before the cluster's id. */
  readonly prefix: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Paths of PEM files. */
  readonly tls?:
    | {
        readonly ca?: string | undefined;
        readonly cert?: string | undefined;
        readonly key?: string | undefined;
      }
    | undefined;
}

export interface ClusterSecrets {
  readonly superuser: string;
  readonly replication: string;
  readonly app: string;
  /** Bearer token of people's commands; with the superuser's, also what agents know each other by. */
  readonly agent: string;
}

const port: z.ZodType<number> = z.int().min(1).max(65_535);
const secret: z.ZodType<string> = z.string().min(16);

/** etcd needs up to 2 s to replace its own leader (`--election-timeout`), and nobody can renew meanwhile. */
const DEFAULT_LEASE_TTL_MS = { embedded: 2_500, etcd: 5_000 } as const;

const path: z.ZodType<string> = z.string().min(1);

const etcdSchema: z.ZodType<EtcdConfig> & z.core.$ZodTypeDiscriminable = z
  .strictObject({
    kind: z.literal('etcd'),
    endpoints: z.array(z.string().transform(parseEndpoint)).min(1),
    prefix: z
      .string()
      .min(1)
      .default('/lockstep/')
      .transform((prefix) => (prefix.endsWith('/') ? prefix : `${prefix}/`)),
    username: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    tls: z.strictObject({ ca: path.optional(), cert: path.optional(), key: path.optional() }).optional(),
  })
  .refine((etcd) => new Set(etcd.endpoints).size === etcd.endpoints.length, {
    path: ['endpoints'],
    message: 'an endpoint is named twice',
  })
  .refine((etcd) => (etcd.username === undefined) === (etcd.password === undefined), {
    path: ['password'],
    message: '"username" and "password" belong together',
  })
  .refine((etcd) => (etcd.tls?.cert === undefined) === (etcd.tls?.key === undefined), {
    path: ['tls'],
    message: '"cert" and "key" belong together',
  })
  .refine(({ tls, endpoints }) => tls === undefined || endpoints.every((url) => url.startsWith('https:')), {
    path: ['endpoints'],
    message: 'with "tls" every endpoint must begin with https://',
  });

const coordinationSchema: z.ZodType<CoordinationConfig> = z.discriminatedUnion(
  'kind',
  [z.strictObject({ kind: z.literal('embedded') }), etcdSchema],
  { error: '"kind" must be "embedded" or "etcd"' },
);

const kernelWatchdogSchema: z.ZodType<KernelWatchdogConfig> = z.strictObject({
  mode: z.enum(['off', 'automatic', 'required']).default('off'),
  device: path.default('/dev/watchdog'),
  timeoutMs: z.int().min(100).optional(),
});

const nodeSchema: z.ZodType<NodeConfig> = z
  .strictObject({
    name: z.string().transform(parseNodeId),
    host: z.string().min(1),
    port: z.int().min(0).max(65_535).optional(),
    agentPort: port,
    failoverPriority: z.int().min(0).max(1_000).optional(),
    witness: z.boolean().default(false),
    voter: z.boolean().default(true),
  })
  .refine((node) => node.witness === ((node.port ?? 0) === 0), {
    path: ['port'],
    message: "a node needs PostgreSQL's port, from 1 to 65535; a witness has none",
  })
  .refine((node) => !node.witness || (node.failoverPriority ?? 0) === 0, {
    path: ['failoverPriority'],
    message: 'a witness never leads',
  })
  .refine((node) => !node.witness || node.voter, {
    path: ['voter'],
    message: 'a witness does nothing but vote',
  })
  .transform((node) => ({
    ...node,
    port: node.port ?? 0,
    failoverPriority: node.failoverPriority ?? (node.witness ? 0 : 1),
  }));

const schema: z.ZodType<ClusterConfig> = z
  .strictObject({
    id: z.string().min(1),
    name: z.string().min(1),
    nodes: z.array(nodeSchema).min(1),
    leaseTtlMs: z.int().min(500).max(60_000).optional(),
    supportMs: z.int().min(200).max(60_000).default(600),
    synchronousFollowers: z.int().min(1).default(1),
    postgres: z.string().default('auto'),
    allowedNetworks: z.array(z.string()).default([]),
    coordination: coordinationSchema.default({ kind: 'embedded' }),
    kernelWatchdog: kernelWatchdogSchema.prefault({}),
    fixedPorts: z.boolean().default(false),
    database: z.string().default('app'),
    appUser: z.string().default('app'),
    secrets: z.strictObject({ superuser: secret, replication: secret, app: secret, agent: secret }),
  })
  .transform((config) => ({
    ...config,
    leaseTtlMs: config.leaseTtlMs ?? DEFAULT_LEASE_TTL_MS[config.coordination.kind],
  }));

/** Scheme, host and port of an etcd member. A password in it would end up in error texts, so that it is refused. */
function parseEndpoint(text: string, context: z.RefinementCtx): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain =
    url !== null &&
    (url.protocol === 'http:' || url.protocol === 'https:') &&
    url.username + url.password + url.search + url.hash === '' &&
    url.pathname === '/';
  if (isPlain) return url.origin;
  context.addIssue({
    code: 'custom',
    message: 'an etcd endpoint is http://host:port or https://host:port and nothing more',
  });
  return z.NEVER;
}

/** Checks a configuration. Throws CONFIG_INVALID that names the first wrong setting. */
export function parseClusterConfig(value: unknown, origin: string): ClusterConfig {
  const result = schema.safeParse(value);
  if (result.success) {
    const names = result.data.nodes.map((node) => node.name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined)
      throw new LockstepError('CONFIG_INVALID', `${origin} names node ${twice} twice; names must differ.`);
    if (voters(result.data).some((node) => node.failoverPriority > 0)) return result.data;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${origin} lets no node lead: every failoverPriority of a voter is 0. Give one of them a higher one.`,
    );
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

/** Those that vote: fixed while an agent runs. */
export function voters(config: ClusterConfig): readonly NodeConfig[] {
  return config.nodes.filter((node) => node.voter);
}

/** The nodes with PostgreSQL. */
export function dataNodes(config: ClusterConfig): readonly NodeConfig[] {
  return config.nodes.filter((node) => !node.witness);
}

export function othersOf(config: ClusterConfig, self: NodeId): readonly NodeConfig[] {
  return config.nodes.filter((node) => node.name !== self);
}

/** Those that have a slot on `self`. */
export function followersOf(config: ClusterConfig, self: NodeId): readonly NodeId[] {
  return dataNodes(config)
    .map((node) => node.name)
    .filter((name) => name !== self);
}

export function agentUrl(node: NodeConfig): string {
  return `http://${node.host}:${node.agentPort}`;
}

/** Where one node keeps everything: `data/`, `consensus.json` and its logs. */
export function nodeFolder(stateDir: string, name: NodeId): string {
  return join(stateDir, 'nodes', name);
}

import { checkDelay } from '../delayed/core/delay.ts';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import { isNetwork } from '../../postgres/addresses.ts';
import { nodesSchema } from './node-schema.ts';
import { mayLead } from '../core/candidate.ts';
import type { NodeConfig } from './node-schema.ts';

export type { NodeConfig } from './node-schema.ts';
import type { FollowerKind } from '../../model/topology.ts';
import { DEFAULT_LEASE_TTL_MS, DEFAULT_SUPPORT_MS } from '../patience.ts';

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
  /** How long a switchover lets transactions end before it ends PostgreSQL; 0 for not at all. Default 1000. */
  readonly switchoverWaitMs: number;
  /** How fast a node's data are copied to another one, past the first 128 MB. Default 64. */
  readonly copyMegabytesPerSecond: number;
  /** How many followers a synchronous commit waits for. */
  readonly synchronousFollowers: number;
  /** `auto`, `system`, `embedded` or the path of a bin folder. */
  readonly postgres: string;
  /** Networks that may connect besides this machine itself, as CIDR. */
  readonly allowedNetworks: readonly string[];
  /** Where the nodes' own connections come from besides their addresses, as behind NAT, as CIDR. */
  readonly nodeNetworks: readonly string[];
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
  /** With the superuser's, what agents and the people who command them know each other by; never sent. */
  readonly agent: string;
}

/** They stand in password files and environments: visible characters, so that no line of those can end in one. */
const secret: z.ZodType<string> = z
  .string()
  .min(16)
  .max(1_000)
  .regex(/^[!-~]*$/, 'expected visible ASCII characters, and no space');

const identifier: z.ZodType<string> = z
  .string()
  .regex(
    /^[A-Za-z_][A-Za-z0-9_.$-]{0,62}$/,
    'expected up to 63 letters, digits, and any of _ . $ -, a letter first',
  );
/** It stands in event logs, `cluster_name` and file names. */
const label: z.ZodType<string> = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$/,
    'expected up to 100 letters, digits, spaces, and any of . _ -, a letter first',
  );

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

const schema: z.ZodType<ClusterConfig> = z
  .strictObject({
    id: label,
    name: label,
    nodes: nodesSchema.min(1).superRefine(checkFounders),
    leaseTtlMs: z.int().min(500).max(60_000).optional(),
    switchoverWaitMs: z.int().min(0).max(60_000).default(1_000),
    copyMegabytesPerSecond: z.int().min(1).max(100_000).default(64),
    supportMs: z.int().min(200).max(60_000).default(DEFAULT_SUPPORT_MS),
    synchronousFollowers: z.int().min(1).default(1),
    postgres: z.string().default('auto'),
    allowedNetworks: z
      .array(z.string().refine(isNetwork, 'expected a network, such as 10.0.0.0/8'))
      .default([]),
    nodeNetworks: z
      .array(z.string().refine(isNetwork, 'expected a network, such as 10.0.0.4/32'))
      .default([]),
    coordination: coordinationSchema.default({ kind: 'embedded' }),
    kernelWatchdog: kernelWatchdogSchema.prefault({}),
    fixedPorts: z.boolean().default(false),
    database: identifier.default('app'),
    appUser: identifier.default('app'),
    secrets: z.strictObject({ superuser: secret, replication: secret, app: secret, agent: secret }),
  })
  .transform((config) => ({
    ...config,
    leaseTtlMs: config.leaseTtlMs ?? DEFAULT_LEASE_TTL_MS[config.coordination.kind],
  }));

/** What a register may tell of nodes, and cluster.json may not. */
function checkFounders(nodes: readonly NodeConfig[], context: z.RefinementCtx): void {
  for (const [index, { witness, voter, isLeaving }] of nodes.entries()) {
    if (witness && !voter)
      context.addIssue({
        code: 'custom',
        path: [index, 'voter'],
        message: 'a witness does nothing but vote',
      });
    if (isLeaving !== undefined)
      context.addIssue({
        code: 'custom',
        path: [index, 'isLeaving'],
        message: 'only a running cluster knows',
      });
  }
}

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

const UNKNOWN_SETTING =
  'Correct it and start again; a setting of a newer release needs that release, and is not to be removed.';

/** Checks a configuration. Throws CONFIG_INVALID that names the first wrong setting. */
export function parseClusterConfig(value: unknown, origin: string): ClusterConfig {
  const result = schema.safeParse(value);
  if (result.success) {
    const names = result.data.nodes.map((node) => node.name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined)
      throw new LockstepError('CONFIG_INVALID', `${origin} names node ${twice} twice; names must differ.`);
    if (voters(result.data).some(mayLead)) return result.data;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${origin} lets no node lead: every failoverPriority of a voter is 0. Give one of them a higher one.`,
    );
  }
  const issue = result.error.issues[0];
  const remedy = issue?.code === 'unrecognized_keys' ? UNKNOWN_SETTING : 'Correct it and start again.';
  const where = issue?.path.join('.');
  throw new LockstepError(
    'CONFIG_INVALID',
    `${origin} is not valid${where ? ` at "${where}"` : ''}: ${issue?.message ?? 'unknown'}. ${remedy}`,
    { details: { origin, where } },
  );
}

/** Reads and checks `cluster.json`. Throws CONFIG_INVALID when it is missing, no JSON or not valid. */
export async function readClusterConfig(path: string): Promise<ClusterConfig> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const remedy =
      code === 'EACCES'
        ? 'Run this as root, or as the user that the agent runs as.'
        : 'Start a cluster with "lockstep dev", or name its file with --config or its folder with --state.';
    throw new LockstepError('CONFIG_INVALID', `${path} cannot be read (${code}). ${remedy}`, {
      cause: error,
    });
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

/** How far a node stays behind on purpose, in milliseconds; 0 for one that is not delayed. */
export function delayMsOf(node: Pick<NodeConfig, 'delay'>): number {
  return node.delay === undefined ? 0 : checkDelay(node.delay);
}

/** Those that vote. */
export function voters(config: ClusterConfig): readonly NodeConfig[] {
  return config.nodes.filter((node) => node.voter);
}

/** How a node takes part. */
export function kindOf(node: Pick<NodeConfig, 'witness' | 'delay' | 'from'>): FollowerKind {
  if (node.witness) return 'witness';
  if (delayMsOf(node) > 0) return 'delayed';
  return node.from === undefined ? 'plain' : 'cascading';
}

/** Those that an app is told of: a delayed node's past is read by name alone. */
export function appNodes(config: ClusterConfig): readonly NodeConfig[] {
  return dataNodes(config).filter((node) => delayMsOf(node) === 0);
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

export function agentUrl({ host, agentPort }: Pick<NodeConfig, 'host' | 'agentPort'>): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${agentPort}`;
}

/** Where one node keeps everything: `data/`, `consensus.json` and its logs. */
export function nodeFolder(stateDir: string, name: NodeId): string {
  return join(stateDir, 'nodes', name);
}

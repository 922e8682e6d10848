import { LockstepError } from '../model/errors.ts';

/** One of the servers. */
export interface QuorumNode {
  /** For results and status; default `host:port`. */
  readonly name?: string;
  /** Connection string of a role that may create a schema the first time. */
  readonly url: string;
}

export interface QuorumOptions {
  /** All servers: three, five or seven. Each is an independent PostgreSQL 15 or later that takes writes. */
  readonly nodes: readonly (string | QuorumNode)[];
  /** After how many ms a call gives up unless it says otherwise. Default 2,000. */
  readonly deadlineMs?: number;
  /** For a connection to be made. Default 2,000 ms. */
  readonly connectTimeoutMs?: number;
  /** A statement that takes longer gives up its connection. Default 1,000 ms. */
  readonly statementTimeoutMs?: number;
  /** What may wait for one server in memory; what is more is noted as a hint. Default 16 MiB. */
  readonly maxQueueBytes?: number;
  /** The largest value as JSON. Default 1 MiB. */
  readonly maxValueBytes?: number;
  /** How often servers are compared in the background; one that comes back is at once. Default 10,000 ms. */
  readonly catchUpEveryMs?: number;
  /** For how long what was deleted is kept at least, so that no late message brings it back. Default 3,600,000 ms. */
  readonly keepDeletedMs?: number;
  /** How far a writer's clock may be ahead of a server's. Default 10,000 ms. */
  readonly maxClockAheadMs?: number;
}

export interface NamedNode {
  readonly name: string;
  readonly url: string;
}

export type Settings = Required<Omit<QuorumOptions, 'nodes'>> & { readonly nodes: readonly NamedNode[] };

const SIZES = [3, 5, 7];
const DEFAULTS = {
  deadlineMs: 2_000,
  connectTimeoutMs: 2_000,
  statementTimeoutMs: 1_000,
  maxQueueBytes: 16 * 1_048_576,
  maxValueBytes: 1_048_576,
  catchUpEveryMs: 10_000,
  keepDeletedMs: 3_600_000,
  maxClockAheadMs: 10_000,
};

/** Throws CONFIG_INVALID. */
export function parseOptions(options: QuorumOptions): Settings {
  const nodes = options.nodes.map((node): NamedNode => {
    const { url, name } = typeof node === 'string' ? { url: node, name: undefined } : node;
    return { url, name: name ?? addressOf(url) };
  });
  if (!SIZES.includes(nodes.length))
    throw invalid(
      `A quorum has 3, 5 or 7 servers, and ${nodes.length} were named; with an even number no more of them may fail.`,
    );
  const twice = nodes.find(({ name }, index) => nodes.findIndex((other) => other.name === name) < index);
  if (twice !== undefined) throw invalid(`${twice.name} is named twice; a quorum needs different servers.`);
  const numbers = Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, fallback]) => {
      const given = options[name as keyof typeof DEFAULTS] ?? fallback;
      if (!Number.isFinite(given) || given <= 0) throw invalid(`${name} is ${given}; pass a number above 0.`);
      return [name, given];
    }),
  ) as typeof DEFAULTS;
  return { ...numbers, nodes };
}

function addressOf(url: string): string {
  if (!URL.canParse(url))
    throw invalid('A node is no connection string; pass postgresql://user:password@host:port/database.');
  const { hostname, port } = new URL(url);
  return `${hostname}:${port === '' ? '5432' : port}`;
}

function invalid(message: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', message);
}

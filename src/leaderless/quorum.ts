import { LockstepError } from '../model/errors.ts';
import { majority } from '../consensus/proposer.ts';
import { HybridClock } from './clock.ts';
import { Actors } from './collections/actors.ts';
import { checkName } from './collections/kind.ts';
import type { CollectionContext, Kind } from './collections/kind.ts';
import { parseTtl } from './collections/ttl.ts';
import type { TtlOptions } from './collections/ttl.ts';
import { found } from './founding.ts';
import type { NodeLink } from './founding.ts';
import { findMismatch } from './core/membership.ts';
import type { Membership } from './core/membership.ts';
import { NodeQueue } from './nodes/node-queue.ts';
import { PgNode } from './nodes/pg-node.ts';
import type { NodeState } from './nodes/pg-node.ts';
import { parseOptions } from './options.ts';
import type { QuorumOptions, Settings } from './options.ts';
import { CatchUp } from './repair/catch-up.ts';
import { Expiry } from './repair/expiry.ts';
import { Hints } from './repair/hints.ts';
import { Replicas } from './replicas.ts';
import { systemRuntime } from './runtime.ts';
import type { Runtime } from './runtime.ts';
import { Slots } from './slots/slots.ts';

export interface QuorumStatus {
  /** Which membership this process goes by. */
  readonly epoch: number;
  readonly nodes: readonly QuorumNodeStatus[];
  /** How many servers a quorum needs. */
  readonly quorum: number;
  /** Whether as many can be reached now. */
  readonly hasQuorum: boolean;
  /** Of this process since it started. */
  readonly hints: {
    /** Keys noted for servers that missed them. */
    readonly noted: number;
    /** Keys brought to servers that were back. */
    readonly replayed: number;
    /** Missed keys that could not be noted. */
    readonly leftToCatchUp: number;
  };
  /** Cells that reads brought to servers that lacked them. */
  readonly repairs: number;
  /** Changes of one server that were compared with another's, and cells that were brought to it. */
  readonly catchUp: { readonly compared: number; readonly brought: number };
  /** Values that were freed after their `ttl` had ended. */
  readonly expired: number;
  /** Rounds of compare-and-set, and how many of them another process cut off or too few servers answered. */
  readonly rounds: { readonly rounds: number; readonly preempted: number; readonly failed: number };
}

export interface QuorumNodeStatus {
  readonly name: string;
  readonly state: NodeState['kind'];
  /** What is wrong, in one sentence; null when nothing is. */
  readonly problem: string | null;
  readonly waitingRequests: number;
  readonly waitingBytes: number;
  /** For how long its oldest statement has not been answered, ms. */
  readonly silentMs: number;
}

const CONNECTIONS = 2;
const MAX_KEYS = 256;

/** Collections on N independent servers; see docs/leaderless.md. */
export class Quorum {
  readonly #links: readonly NodeLink[];
  readonly #membership: Membership;
  readonly #queues: readonly NodeQueue[];
  readonly #replicas: Replicas;
  readonly #slots: Slots;
  readonly #hints: Hints;
  readonly #catchUp: CatchUp;
  readonly #expiry: Expiry;
  readonly #closing = new AbortController();
  readonly #context: Omit<CollectionContext, 'collection' | 'ttlMs'>;
  readonly #kinds = new Map<string, string>();

  /** For {@link quorum}. */
  constructor(settings: Settings, links: readonly NodeLink[], membership: Membership, runtime: Runtime) {
    this.#links = links;
    this.#membership = membership;
    const limits = { maxInFlight: CONNECTIONS, maxKeys: MAX_KEYS, maxBytes: settings.maxQueueBytes };
    this.#queues = links.map(({ name, node }) => new NodeQueue(name, node, runtime, limits));
    const known = this.#queues.map((queue, index) => ({
      queue,
      systemIdentifier: () => links[index]?.identity?.systemIdentifier ?? null,
    }));
    this.#hints = new Hints(known, runtime);
    this.#catchUp = new CatchUp(known, runtime, settings.catchUpEveryMs);
    this.#replicas = new Replicas(this.#queues, runtime, this.#hints.onMissed);
    this.#slots = new Slots(this.#queues, runtime);
    const writer = runtime.uniqueName();
    this.#context = {
      replicas: this.#replicas,
      slots: this.#slots,
      clock: new HybridClock(runtime, settings.maxClockAheadMs),
      runtime,
      writer,
      actors: new Actors(writer),
      limits: settings,
      maxClockAheadMs: settings.maxClockAheadMs,
      closing: this.#closing.signal,
    };
    this.#expiry = new Expiry(this.#queues, runtime, settings.maxClockAheadMs);
    this.#hints.start();
    this.#catchUp.start();
    this.#expiry.start();
  }

  /**
   * A collection of a kind, which is fixed with its first use: a call on one that exists as another throws CONFIG_INVALID.
   * Asks no server. `options` are those of the kind: `ttl` where values may end.
   */
  collection<C, O>(name: string, kind: Kind<C, O>, options?: NoInfer<O>): C {
    checkName('collection name', name);
    const known = this.#kinds.get(name);
    if (known !== undefined && known !== kind.kind) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `The collection "${name}" is of kind "${known}" and cannot be opened as "${kind.kind}"; use another name.`,
      );
    }
    this.#kinds.set(name, kind.kind);
    const { ttl } = (options ?? {}) as TtlOptions;
    return kind.open({ ...this.#context, collection: { name, kind: kind.kind }, ttlMs: parseTtl(ttl) });
  }

  /** What this process knows of the servers and has done since it started. */
  status(): QuorumStatus {
    const nodes = this.#queues.map((queue, index): QuorumNodeStatus => {
      const state: NodeState = this.#links[index]?.node.state ?? { kind: 'connecting' };
      return {
        name: queue.name,
        state: state.kind,
        problem: 'problem' in state ? state.problem : null,
        waitingRequests: queue.waiting.requests,
        waitingBytes: queue.waiting.bytes,
        silentMs: queue.silentMs(),
      };
    });
    const quorum = majority(nodes.length);
    return {
      epoch: this.#membership.epoch,
      nodes,
      quorum,
      hasQuorum: nodes.filter(({ state }) => state === 'up').length >= quorum,
      hints: { ...this.#hints.counts },
      repairs: this.#replicas.repairs,
      catchUp: { ...this.#catchUp.counts },
      expired: this.#expiry.purged,
      rounds: { ...this.#slots.counts },
    };
  }

  /** Ends the connections. Calls under way fail. */
  async close(): Promise<void> {
    this.#hints.close();
    this.#catchUp.close();
    this.#expiry.close();
    this.#closing.abort();
    await Promise.all(this.#links.map(({ node }) => node.close()));
  }
}

/**
 * Connects to the servers, and founds the quorum on the first call: tables are made and each server learns who
 * belongs to it, for which all must answer. Later one that answers is enough to start.
 *
 * Throws CONFIG_INVALID for servers that do not belong together, or that cannot be used; QUORUM_NOT_REACHED (retryable) when none
 * answered, or not all before the founding. Source: G. DeCandia and others, "Dynamo", 2007; D. Rystsov, "CASPaxos", 2018.
 */
export async function quorum(options: QuorumOptions, runtime: Runtime = systemRuntime): Promise<Quorum> {
  const settings = parseOptions(options);
  const known: { membership: Membership | null } = { membership: null };
  const links = settings.nodes.map(({ name, url }): NodeLink => {
    const link: NodeLink = {
      name,
      identity: null,
      node: new PgNode(
        {
          name,
          url,
          connections: CONNECTIONS,
          connectTimeoutMs: settings.connectTimeoutMs,
          statementTimeoutMs: settings.statementTimeoutMs,
          maxClockAheadMs: settings.maxClockAheadMs,
          admit: (identity) => {
            const { membership } = known;
            const problem = membership === null ? null : findMismatch(name, identity, membership);
            if (problem !== null) throw new LockstepError('CONFIG_INVALID', problem);
            link.identity = identity;
          },
        },
        runtime,
      ),
    };
    return link;
  });
  try {
    const membership = await found(links);
    known.membership = membership;
    for (const { node } of links) node.useEpoch(membership.epoch);
    const quorumOfNodes = new Quorum(settings, links, membership, runtime);
    await Promise.all(links.map(({ node }) => node.connect()));
    return quorumOfNodes;
  } catch (error) {
    await Promise.all(links.map(({ node }) => node.close()));
    throw error;
  }
}

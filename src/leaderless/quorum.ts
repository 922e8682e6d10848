import { LockstepError } from '../model/errors.ts';
import { HybridClock } from './clock.ts';
import { Actors } from './collections/actors.ts';
import { checkName } from './collections/kind.ts';
import type { CollectionContext, Kind } from './collections/kind.ts';
import { parseTtl } from './collections/ttl.ts';
import type { TtlOptions } from './collections/ttl.ts';
import { found } from './founding.ts';
import { changeMembers } from './members/change.ts';
import type { MemberChange } from './members/change.ts';
import { Links } from './members/links.ts';
import type { NodeState } from './nodes/pg-node.ts';
import { parseOptions } from './options.ts';
import type { QuorumOptions, Settings } from './options.ts';
import { CatchUp } from './repair/catch-up.ts';
import { Expiry } from './repair/expiry.ts';
import { Collector } from './repair/collect.ts';
import { Hints } from './repair/hints.ts';
import { Replicas } from './replicas.ts';
import type { Roster } from './roster.ts';
import { systemRuntime } from './runtime.ts';
import type { Runtime } from './runtime.ts';
import { Slots } from './slots/slots.ts';

export interface QuorumStatus {
  /** Which membership this process goes by. */
  readonly epoch: number;
  readonly nodes: readonly QuorumNodeStatus[];
  /** Whether members are being replaced, added or removed now. */
  readonly isChanging: boolean;
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
  /** Cells that were deleted long ago and are forgotten, at all servers together; compare-and-set keys likewise, counted once. */
  readonly collected: { readonly forgotten: number; readonly erased: number };
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

/** Collections on N independent servers; see docs/leaderless.md. */
export class Quorum {
  readonly #links: Links;
  readonly #roster: Roster;
  readonly #runtime: Runtime;
  readonly #replicas: Replicas;
  readonly #slots: Slots;
  readonly #hints: Hints;
  readonly #catchUp: CatchUp;
  readonly #collector: Collector;
  readonly #expiry: Expiry;
  readonly #closing = new AbortController();
  readonly #context: Omit<CollectionContext, 'collection' | 'ttlMs'>;
  readonly #kinds = new Map<string, string>();

  /** For {@link quorum}. */
  constructor(settings: Settings, links: Links, roster: Roster, runtime: Runtime) {
    this.#links = links;
    this.#roster = roster;
    this.#runtime = runtime;
    this.#hints = new Hints(roster, runtime);
    this.#expiry = new Expiry(roster, runtime, settings.maxClockAheadMs);
    // Keys that are written again and again are named often: each pair of servers would look up all those names.
    this.#catchUp = new CatchUp(roster, runtime, settings.catchUpEveryMs, () => this.#expiry.trim());
    this.#collector = new Collector(roster, runtime, this.#catchUp, {
      keepMs: settings.keepDeletedMs,
      everyMs: Math.max(settings.catchUpEveryMs, settings.keepDeletedMs / 6),
    });
    this.#replicas = new Replicas(roster, runtime, this.#hints.onMissed);
    this.#slots = new Slots(roster, runtime, settings.keepDeletedMs / 2);
    const writer = runtime.uniqueName();
    this.#context = {
      replicas: this.#replicas,
      slots: this.#slots,
      clock: new HybridClock(runtime, settings.maxClockAheadMs, writer),
      runtime,
      writer,
      actors: new Actors(writer, settings.keepDeletedMs / 4),
      limits: settings,
      maxClockAheadMs: settings.maxClockAheadMs,
      closing: this.#closing.signal,
    };
    this.#hints.start();
    this.#catchUp.start();
    this.#expiry.start();
    this.#collector.start();
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
    const roster = this.#roster;
    const nodes = this.#links.all
      .filter((link) => roster.nodes.includes(link) || link.node.state.kind === 'refused')
      .map(({ queue, node }): QuorumNodeStatus => {
        const { state } = node;
        return {
          name: queue.name,
          state: state.kind,
          problem: 'problem' in state ? state.problem : null,
          waitingRequests: queue.waiting.requests,
          waitingBytes: queue.waiting.bytes,
          silentMs: queue.silentMs(),
        };
      });
    return {
      epoch: roster.epoch,
      isChanging: !roster.isStable,
      nodes,
      quorum: roster.needed('quorum'),
      hasQuorum: roster.canReach('quorum', (queue) => !queue.isUp),
      hints: { ...this.#hints.counts },
      repairs: this.#replicas.repairs,
      catchUp: { ...this.#catchUp.counts },
      expired: this.#expiry.purged,
      collected: { ...this.#collector.counts },
      rounds: { ...this.#slots.counts },
    };
  }

  /**
   * Brings every server that can be reached what it lacks of what the others changed; needs no call for what runs in the background anyway.
   * Gives how much was compared and brought meanwhile.
   */
  async repair(): Promise<{ readonly compared: number; readonly brought: number }> {
    const before = { ...this.#catchUp.counts };
    for (const node of this.#roster.nodes) if (node.queue.isUp) await this.#catchUp.bringUpToDate(node);
    const { compared, brought } = this.#catchUp.counts;
    return { compared: compared - before.compared, brought: brought - before.brought };
  }

  /**
   * For `lockstep leaderless node`: makes these the members, while clients work. `joining` are the new ones among them. See
   * {@link changeMembers}.
   */
  async changeMembers(
    change: MemberChange,
    joining: readonly { readonly id: string; readonly name: string; readonly url: string }[],
    options: { readonly deadlineMs: number; readonly onStep?: (what: string) => void },
  ): Promise<void> {
    for (const { id, name, url } of joining) await this.#links.join({ name, url }, id);
    const context = {
      slots: this.#slots,
      catchUp: this.#catchUp,
      runtime: this.#runtime,
      membership: () => this.#links.membership,
      nodeOf: (id: string) => this.#links.nodeOf(id),
      follow: (membership: Parameters<Links['follow']>[0]) => this.#links.follow(membership),
      ...(options.onStep === undefined ? {} : { onStep: options.onStep }),
    };
    await changeMembers(context, change, options.deadlineMs);
  }

  /** Names of the members, which their system identifiers begin. */
  get members(): readonly string[] {
    return this.#links.membership.members;
  }

  /** Ends the connections. Calls under way fail. */
  async close(): Promise<void> {
    this.#hints.close();
    this.#catchUp.close();
    this.#collector.close();
    this.#expiry.close();
    this.#closing.abort();
    await this.#links.close();
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
  const links = new Links(settings, runtime);
  try {
    const roster = links.start(await found(links.all));
    const opened = new Quorum(settings, links, roster, runtime);
    await Promise.all(links.all.map(({ node }) => node.connect()));
    return opened;
  } catch (error) {
    await links.close();
    throw error;
  }
}

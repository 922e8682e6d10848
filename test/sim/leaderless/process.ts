import { HybridClock } from '../../../src/leaderless/clock.ts';
import { Actors } from '../../../src/leaderless/collections/actors.ts';
import { CartCollection } from '../../../src/leaderless/collections/cart.ts';
import { CasCollection } from '../../../src/leaderless/collections/cas.ts';
import { LwwCollection } from '../../../src/leaderless/collections/lww.ts';
import { RULES } from '../../../src/leaderless/core/rules.ts';
import type { Rules } from '../../../src/leaderless/core/rules.ts';
import { NodeQueue } from '../../../src/leaderless/nodes/node-queue.ts';
import { CatchUp } from '../../../src/leaderless/repair/catch-up.ts';
import { Collector } from '../../../src/leaderless/repair/collect.ts';
import { Hints } from '../../../src/leaderless/repair/hints.ts';
import { changeMembers } from '../../../src/leaderless/members/change.ts';
import { allMembers } from '../../../src/leaderless/core/membership.ts';
import type { Membership } from '../../../src/leaderless/core/membership.ts';
import { Roster } from '../../../src/leaderless/roster.ts';
import type { KnownNode } from '../../../src/leaderless/roster.ts';
import { Replicas } from '../../../src/leaderless/replicas.ts';
import type { Runtime } from '../../../src/leaderless/runtime.ts';
import { Slots } from '../../../src/leaderless/slots/slots.ts';
import { SimulatedLink } from './link.ts';
import type { Wire } from './link.ts';
import type { ModelNode } from './model-node.ts';

export interface ProcessOptions {
  /** What the process was told of the members; those that it meets tell it more. */
  readonly membership: Membership;
  readonly nodeNamed: (name: string) => ModelNode;
  readonly runtime: Runtime;
  readonly wireTo: (node: ModelNode) => Wire;
  readonly rules?: Partial<Rules>;
  readonly deniesSending?: boolean;
  /** Without hints, everything that was missed is left to catch-up. */
  readonly hasHints?: boolean;
  /** For how long what is deleted is kept. */
  readonly keepMs: number;
  /** For how long an actor is taken up. */
  readonly actorLifeMs?: number;
}

/** One process of an app: the shipped coordinator, wired as `quorum()` wires it, over simulated links. */
export class SimulatedProcess {
  readonly carts: CartCollection;
  readonly prefs: LwwCollection<string>;
  readonly logs: CasCollection<readonly string[]>;
  readonly deals: CasCollection<string>;
  readonly replicas: Replicas;

  #membership: Membership;
  readonly #roster: Roster;
  readonly #nodes = new Map<string, KnownNode>();
  readonly #options: ProcessOptions;
  readonly #change: Omit<Parameters<typeof changeMembers>[0], 'membership' | 'nodeOf' | 'follow'>;

  constructor(options: ProcessOptions) {
    const { runtime, rules: broken = {}, hasHints = true, keepMs, actorLifeMs = keepMs / 4 } = options;
    this.#options = options;
    this.#membership = options.membership;
    const rules = { ...RULES, ...broken };
    const roster = new Roster(this.#membership.epoch, this.#sets(), rules);
    this.#roster = roster;
    const hints = new Hints(roster, runtime);
    this.replicas = new Replicas(roster, runtime, hasHints ? hints.onMissed : () => undefined, rules);
    const slots = new Slots(roster, runtime, keepMs / 2, rules);
    const writer = runtime.uniqueName();
    const context = {
      replicas: this.replicas,
      slots,
      clock: new HybridClock(runtime, 10_000, writer, rules),
      runtime,
      writer,
      actors: new Actors(writer, actorLifeMs),
      limits: { deadlineMs: 400, maxValueBytes: 100_000 },
      maxClockAheadMs: 10_000,
      closing: new AbortController().signal,
      ttlMs: null,
    };
    this.carts = new CartCollection({ ...context, collection: { name: 'carts', kind: 'cart' } });
    this.prefs = new LwwCollection({ ...context, collection: { name: 'prefs', kind: 'lww' } });
    this.logs = new CasCollection({ ...context, collection: { name: 'logs', kind: 'cas' } });
    this.deals = new CasCollection({ ...context, collection: { name: 'deals', kind: 'cas' } });
    if (hasHints) hints.start();
    const catchUp = new CatchUp(roster, runtime, 400);
    catchUp.start();
    new Collector(roster, runtime, catchUp, { keepMs, everyMs: keepMs }, rules).start();
    this.#change = { slots, catchUp, runtime, rules };
  }

  get membership(): Membership {
    return this.#membership;
  }

  /** What `lockstep leaderless node` does. */
  async changeMembers(members: readonly string[], deadlineMs: number): Promise<void> {
    await changeMembers(
      {
        ...this.#change,
        membership: () => this.#membership,
        nodeOf: (name) => this.#node(name),
        follow: (membership) => this.#follow(membership),
      },
      { members, addresses: {} },
      deadlineMs,
    );
  }

  #sets(): readonly (readonly KnownNode[])[] {
    const { members, next } = this.#membership;
    return [members, ...(next === null ? [] : [next])].map((set) => set.map((name) => this.#node(name)));
  }

  #follow(membership: Membership): void {
    if (membership.epoch <= this.#membership.epoch) return;
    this.#membership = membership;
    this.#roster.change(membership.epoch, this.#sets());
  }

  #node(name: string): KnownNode {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const { runtime, nodeNamed, wireTo, deniesSending = false } = this.#options;
    const model = nodeNamed(name);
    const admission = {
      epoch: () => this.#membership.epoch,
      admit: (node: ModelNode) => this.#admit(node),
    };
    const link = new SimulatedLink(model, wireTo(model), runtime, admission, deniesSending);
    const queue = new NodeQueue(name, link, runtime, { maxInFlight: 2, maxKeys: 4, maxBytes: 20_000 });
    const node: KnownNode = { queue, id: () => name };
    this.#nodes.set(name, node);
    return node;
  }

  /** As src/leaderless/members/links.ts does it. */
  #admit(node: ModelNode): boolean {
    if (node.membership.epoch > this.#membership.epoch) this.#follow(node.membership);
    if (node.membership.epoch === 0) return true;
    if (!allMembers(this.#membership).includes(node.name)) return false;
    if (node.membership.epoch < this.#membership.epoch) node.membership = this.#membership;
    return true;
  }
}

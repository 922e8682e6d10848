import { HybridClock } from '../../../src/leaderless/clock.ts';
import { Actors } from '../../../src/leaderless/collections/actors.ts';
import { CartCollection } from '../../../src/leaderless/collections/cart.ts';
import { CasCollection } from '../../../src/leaderless/collections/cas.ts';
import { LwwCollection } from '../../../src/leaderless/collections/lww.ts';
import { RULES } from '../../../src/leaderless/core/rules.ts';
import type { Rules } from '../../../src/leaderless/core/rules.ts';
import { NodeQueue } from '../../../src/leaderless/nodes/node-queue.ts';
import { CatchUp } from '../../../src/leaderless/repair/catch-up.ts';
import { Hints } from '../../../src/leaderless/repair/hints.ts';
import { Replicas } from '../../../src/leaderless/replicas.ts';
import type { Runtime } from '../../../src/leaderless/runtime.ts';
import { Slots } from '../../../src/leaderless/slots/slots.ts';
import { SimulatedLink } from './link.ts';
import type { Wire } from './link.ts';
import type { ModelNode } from './model-node.ts';

export interface ProcessOptions {
  readonly nodes: readonly ModelNode[];
  readonly runtime: Runtime;
  readonly wireTo: (node: ModelNode) => Wire;
  readonly rules?: Partial<Rules>;
  readonly deniesSending?: boolean;
  /** Without hints, everything that was missed is left to catch-up. */
  readonly hasHints?: boolean;
}

/** One process of an app: the shipped coordinator, wired as `quorum()` wires it, over simulated links. */
export class SimulatedProcess {
  readonly carts: CartCollection;
  readonly prefs: LwwCollection<string>;
  readonly logs: CasCollection<readonly string[]>;
  readonly replicas: Replicas;

  constructor({
    nodes,
    runtime,
    wireTo,
    rules: broken = {},
    deniesSending = false,
    hasHints = true,
  }: ProcessOptions) {
    const rules = { ...RULES, ...broken };
    const limits = { maxInFlight: 2, maxKeys: 4, maxBytes: 20_000 };
    const queues = nodes.map((node) => {
      const link = new SimulatedLink(node, wireTo(node), runtime, deniesSending);
      return new NodeQueue(node.name, link, runtime, limits);
    });
    const known = queues.map((queue, index) => ({
      queue,
      systemIdentifier: () => nodes[index]?.systemIdentifier ?? null,
    }));
    const hints = new Hints(known, runtime);
    this.replicas = new Replicas(queues, runtime, hasHints ? hints.onMissed : () => undefined, rules);
    const writer = runtime.uniqueName();
    const context = {
      replicas: this.replicas,
      slots: new Slots(queues, runtime, rules),
      clock: new HybridClock(runtime, 10_000, rules),
      runtime,
      writer,
      actors: new Actors(writer),
      limits: { deadlineMs: 400, maxValueBytes: 100_000 },
      maxClockAheadMs: 10_000,
      closing: new AbortController().signal,
      ttlMs: null,
    };
    this.carts = new CartCollection({ ...context, collection: { name: 'carts', kind: 'cart' } });
    this.prefs = new LwwCollection({ ...context, collection: { name: 'prefs', kind: 'lww' } });
    this.logs = new CasCollection({ ...context, collection: { name: 'logs', kind: 'cas' } });
    if (hasHints) hints.start();
    new CatchUp(known, runtime, 400).start();
  }
}

import { supportedUntilMs, supportersNeeded } from '../../../src/leader-follower/core/support.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { DEFAULT_SUPPORT_MS } from '../../../src/leader-follower/patience.ts';
import type { MutantName } from './rules.ts';

/** The leader's side of support, as src/leader-follower/leadership/support-of-members.ts. */
export class ModelSupport {
  readonly #self: NodeId;
  readonly #mutant: MutantName | null;
  /** By the clock of this machine. */
  readonly #answeredPingSentAtMs = new Map<NodeId, number>();

  constructor(self: NodeId, mutant: MutantName | null) {
    this.#self = self;
    this.#mutant = mutant;
  }

  /** Whether it moved the limits. */
  heard(from: NodeId, countsFromMs: number): boolean {
    if (countsFromMs <= (this.#answeredPingSentAtMs.get(from) ?? Number.NEGATIVE_INFINITY)) return false;
    this.#answeredPingSentAtMs.set(from, countsFromMs);
    return true;
  }

  forget(): void {
    this.#answeredPingSentAtMs.clear();
  }

  /** Until when each of these sets of members grants support, and failsafe. */
  until(sets: readonly (readonly NodeId[])[]): {
    readonly untilMs: number;
    readonly failsafeUntilMs: number;
  } {
    const each = sets.map((members) => {
      const sent = [...this.#answeredPingSentAtMs].filter(([name]) => members.includes(name));
      const sentAtMs = sent.map(([, atMs]) => atMs);
      const others = members.filter((name) => name !== this.#self).length;
      const isMember = others < members.length || this.#mutant === 'guest-supported-as-member';
      return {
        untilMs: supportedUntilMs(sentAtMs, supportersNeeded(members.length, isMember), DEFAULT_SUPPORT_MS),
        failsafeUntilMs: supportedUntilMs(sentAtMs, others, DEFAULT_SUPPORT_MS),
      };
    });
    return {
      untilMs: Math.min(...each.map(({ untilMs }) => untilMs)),
      failsafeUntilMs: Math.min(...each.map(({ failsafeUntilMs }) => failsafeUntilMs)),
    };
  }
}

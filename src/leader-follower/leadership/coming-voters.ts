import type { NodeId } from '../../model/node.ts';
import type { RegisterReader } from './register-reader.ts';

/** Voters that a write of this node may have brought, or is about to. */
export interface ComingVoters {
  readonly names: readonly NodeId[];
  /** The version that the change replaces; null before it is sent. */
  replaces: number | null;
}

/**
 * Voters that may come to count with a write of this node, which is under way or about to be. As long as it is not known
 * whether they do, this node leads only with the support that they and the present ones ask for.
 */
export class VotersToCome {
  #coming: ComingVoters | null = null;

  constructor(register: RegisterReader) {
    register.onLearned(() => {
      // What replaced that version is this node's change, or bars it for good.
      const { replaces = null } = this.#coming ?? {};
      if (replaces !== null && register.known.version > replaces) this.#coming = null;
    });
  }

  /** Null where there are none. */
  get names(): readonly NodeId[] | null {
    return this.#coming?.names ?? null;
  }

  /** Null when another change has not been settled yet. */
  add(names: readonly NodeId[]): ComingVoters | null {
    if (this.#coming !== null) return null;
    this.#coming = { names, replaces: null };
    return this.#coming;
  }

  isCounted(coming: ComingVoters): boolean {
    return this.#coming === coming;
  }

  /** Takes {@link add} back, as long as nothing was sent. */
  drop(coming: ComingVoters): void {
    if (this.#coming === coming && coming.replaces === null) this.#coming = null;
  }
}

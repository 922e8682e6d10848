import type { NodeId } from '../../../src/model/node.ts';
import type { Host } from './host.ts';

const LONGEST_RELOAD_MS = 300;

/** `ANY required (names)`. */
interface Wanted {
  readonly names: readonly NodeId[];
  readonly required: number;
}

/** Whom commits wait for, as a reload takes effect: for the walsenders and for each session at a moment of its own. */
export class SyncSettings {
  readonly #host: Host;
  readonly #onActive: () => void;
  #written: Wanted = { names: [], required: 1 };
  #active: Wanted = { names: [], required: 1 };
  #shown: Wanted = { names: [], required: 1 };

  constructor(host: Host, onActive: () => void) {
    this.#host = host;
    this.#onActive = onActive;
  }

  /** In the file. */
  get written(): Wanted {
    return this.#written;
  }

  /** What the walsenders go by, a moment later. */
  get active(): Wanted {
    return this.#active;
  }

  /** What a session that is asked shows. */
  get shown(): Wanted {
    return this.#shown;
  }

  /** A start as a follower: nobody is waited for. */
  forget(): void {
    this.#written = { ...this.#written, names: [] };
    this.#active = { ...this.#active, names: [] };
    this.#shown = { names: [], required: 1 };
  }

  startWith(wanted: Wanted): void {
    [this.#written, this.#active, this.#shown] = [wanted, wanted, wanted];
  }

  /** New waits go by the settings, as they are then, within moments of the reload; sessions show them sooner or later. */
  reload(wanted: Wanted): void {
    this.#written = wanted;
    const host = this.#host;
    const takesMs = host.between(1, LONGEST_RELOAD_MS);
    host.after(host.postgres, takesMs, () => {
      this.#active = this.#written;
      this.#onActive();
    });
    host.after(host.postgres, LONGEST_RELOAD_MS + 1 - takesMs, () => {
      this.#shown = this.#written;
    });
  }
}

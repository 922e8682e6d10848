import type { Clock } from '../../model/clock.ts';
import { distrust, isSameCatalog, NOTHING_KNOWN, readCatalog } from './core/catalog-names.ts';
import type { CatalogNames, CatalogRow } from './core/catalog-names.ts';

/** Where {@link CatalogRow}s come from: one query on the leader. */
export interface CatalogSource {
  /** Throws when there is no leader, or it cannot be asked. */
  load(): Promise<readonly CatalogRow[]>;
  /** Ends what is under way. */
  close(): void;
}

/** How long a change made by others may go unseen. */
const REFRESH_MS = 60_000;

/** The first try comes while the pool still looks for its leader. */
const FIRST_RETRY_MS = 25;

/** A change that this pool sent may be committed a little later; what follows commits soon after. */
const AFTER_CHANGE_MS = [50, 1000];

/**
 * Keeps what the leader's catalog says about functions and views: asked once it is first needed, again every
 * minute, and soon after this pool sent a statement that may change it. Its timers keep no process alive.
 */
export class CatalogWatch {
  readonly #source: CatalogSource;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #names = NOTHING_KNOWN;
  #callOff: (() => void) | null = null;
  #isStarted = false;
  #isLoading = false;
  #isClosed = false;
  #failures = 0;
  /** Pauses before the loads that a change asked for. */
  #nextPausesMs: number[] = [];

  /** `onChange` is called when `names` differ from before. */
  constructor(source: CatalogSource, clock: Clock, onChange: () => void) {
    this.#clock = clock;
    this.#source = source;
    this.#onChange = onChange;
  }

  get names(): CatalogNames {
    return this.#names;
  }

  /** Starts asking, once. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    void this.#load();
  }

  /** Tells that a statement is on its way that may change the catalog. */
  expectChange(): void {
    this.#isStarted = true;
    this.#nextPausesMs = [...AFTER_CHANGE_MS];
    this.#take(distrust(this.#names));
    if (!this.#isLoading) this.#scheduleNext();
  }

  close(): void {
    this.#isClosed = true;
    this.#callOff?.();
    this.#source.close();
  }

  async #load(): Promise<void> {
    if (this.#isLoading || this.#isClosed) return;
    this.#isLoading = true;
    try {
      const names = readCatalog(await this.#source.load());
      this.#failures = 0;
      // While a change is on its way, the answer may be older than the change.
      this.#take(this.#nextPausesMs.length > 0 ? distrust(names) : names);
    } catch {
      this.#failures += 1;
    }
    this.#isLoading = false;
    this.#scheduleNext();
  }

  #scheduleNext(): void {
    if (this.#isClosed) return;
    this.#callOff?.();
    const pauseMs =
      this.#nextPausesMs.shift() ??
      (this.#failures === 0 ? REFRESH_MS : Math.min(FIRST_RETRY_MS * 2 ** this.#failures, REFRESH_MS));
    this.#callOff = this.#clock.after(pauseMs, () => void this.#load());
  }

  #take(names: CatalogNames): void {
    if (isSameCatalog(this.#names, names)) return;
    this.#names = names;
    this.#onChange();
  }
}

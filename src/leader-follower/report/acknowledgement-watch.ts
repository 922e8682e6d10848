import type { Clock } from '../../model/clock.ts';
import type { Probe } from '../../postgres/probe.ts';
import { parseRequired, parseSynchronousStandbyNames } from '../core/sync-set.ts';
import { isSilent, observeProgress } from './core/acknowledgement.ts';
import type { Acknowledgement, Progress } from './core/acknowledgement.ts';

/** As the leader: watches by its own walsenders and its own clock whether the synchronous followers acknowledge. */
export class AcknowledgementWatch {
  readonly #clock: Pick<Clock, 'nowMs'>;
  #progress: ReadonlyMap<string, Progress> = new Map();
  #seen: Acknowledgement | undefined;

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.#clock = clock;
  }

  /** What the last look showed; undefined where this node does not lead. */
  get seen(): Acknowledgement | undefined {
    return this.#seen;
  }

  /** A new leader's followers get the same time to come back as after any other hiccup. `recorded` is the sync set. */
  see(probe: Probe | null, recorded: readonly string[]): void {
    if (probe === null) return;
    if (probe.isInRecovery) {
      this.#progress = new Map();
      this.#seen = undefined;
      return;
    }
    const nowMs = this.#clock.nowMs();
    const members = parseSynchronousStandbyNames(probe.synchronousStandbyNames);
    this.#progress = new Map(
      [...new Set<string>([...members, ...recorded])].map((name) => {
        const flushLsn = probe.followers.find((follower) => follower.name === name)?.flushLsn ?? null;
        return [name, observeProgress(this.#progress.get(name), probe.receivedLsn, flushLsn, nowMs)];
      }),
    );
    const silent = [...this.#progress].filter(([, progress]) => isSilent(progress, nowMs));
    this.#seen = {
      required: parseRequired(probe.synchronousStandbyNames),
      members,
      silent: silent.map(([name]) => name),
    };
  }
}

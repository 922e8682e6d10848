import type { Probe } from '../../postgres/probe.ts';

/** What a node begins to lead with. */
export interface LeadershipBegin {
  /** PostgreSQL's synchronous_standby_names since before it was promoted; '' where that is not known. */
  readonly standbyNames: string;
}

/** One thing that a leader keeps in order for as long as it leads. No two calls of one duty run at once. */
export interface LeaderDuty {
  /** Its PostgreSQL accepts writes now, and clients know. What fails here, {@link step} makes good. */
  start(begin: LeadershipBegin): Promise<void>;
  /** One round as the leader; `seen` is what PostgreSQL said at its beginning. */
  step(seen: Probe): Promise<void>;
  /** It leads no more; its PostgreSQL may have ended, or follow another. */
  stop(): void;
}

/** All duties of a leader, in order. One that fails keeps none of the others from theirs. */
export class LeaderDuties {
  readonly #duties: readonly LeaderDuty[];
  #areStarted = false;

  constructor(duties: readonly LeaderDuty[]) {
    this.#duties = duties;
  }

  /** Throws what the first one threw, after all had their turn. */
  async start(begin: LeadershipBegin): Promise<void> {
    this.stop();
    this.#areStarted = true;
    await this.#each((duty) => duty.start(begin));
  }

  /** Starts them where that has not been done. Throws what the first one threw, after all had their turn. */
  async step(seen: Probe): Promise<void> {
    if (!this.#areStarted) await this.start({ standbyNames: '' });
    await this.#each((duty) => duty.step(seen));
  }

  /** Nothing happens where they have stopped already. */
  stop(): void {
    if (!this.#areStarted) return;
    this.#areStarted = false;
    for (const duty of this.#duties) duty.stop();
  }

  async #each(turn: (duty: LeaderDuty) => Promise<void>): Promise<void> {
    const failures: unknown[] = [];
    for (const duty of this.#duties) await turn(duty).catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }
}

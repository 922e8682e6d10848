import type { View } from '../../../src/leader-follower/core/view.ts';
import { parseTerm } from '../../../src/model/node.ts';
import type { Term } from '../../../src/model/node.ts';
import { nextTimeline } from '../../../src/model/timeline.ts';
import type { ModelAgent } from './agent.ts';
import { SyncSetKeeper } from './sync-set-keeper.ts';

export const SYSTEM_IDENTIFIER = 'cluster';

/** How a node with the lease becomes a leader that writes, and keeps what commits wait for. One in each life of an agent. */
export class ModelPromotion {
  readonly #agent: ModelAgent;
  readonly #observe: (done: () => void) => void;
  #syncSet: SyncSetKeeper;
  #failed = { term: parseTerm(0), count: 0 };

  constructor(agent: ModelAgent, observe: (done: () => void) => void) {
    this.#agent = agent;
    this.#observe = observe;
    this.#syncSet = new SyncSetKeeper(agent, []);
  }

  /** How often it went wrong in that term. */
  failedIn(term: Term | undefined): number {
    return this.#failed.term === term ? this.#failed.count : 0;
  }

  promote(done: () => void): void {
    const { leadership, host, server, local, news } = this.#agent;
    const { state } = leadership.known;
    if (state === null || leadership.ownLease.kind !== 'held') return done();
    const names = state.sync.members.filter((name) => name !== host.name);
    leadership.announce(nextTimeline(server.newestTimeline), (isAnnounced) => {
      if (!isAnnounced) return done();
      local.promote(names, state.sync.required, (isDone) => {
        if (!isDone) {
          const { term } = state.leadership;
          this.#failed = { term, count: this.failedIn(term) + 1 };
          return done();
        }
        news.promoted();
        this.#syncSet = new SyncSetKeeper(this.#agent, names);
        this.#observe(() => this.#record(done));
      });
    });
  }

  /** What a leader does in each round. */
  lead(view: View, done: () => void): void {
    if (view.local.kind !== 'leader') return done();
    const step = (): void => this.#syncSet.step(done);
    const isRecorded =
      this.#agent.leadership.known.state?.leadership.timeline === view.local.history.timeline;
    if (isRecorded) step();
    else this.#record(step);
  }

  #record(done: () => void): void {
    const { server, leadership } = this.#agent;
    if (server.mode !== 'leader') return done();
    const { timeline } = server.history;
    leadership.update(
      (state) => ({
        ...state,
        systemIdentifier: SYSTEM_IDENTIFIER,
        leadership: { ...state.leadership, timeline, announcedTimeline: null },
      }),
      done,
    );
  }
}

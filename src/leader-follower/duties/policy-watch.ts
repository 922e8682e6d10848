import type { Clock } from '../../model/clock.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { SyncPolicy, SyncSet } from '../core/cluster-state.ts';
import type { StreamingFollower } from '../core/sync-set.ts';
import type { EventLog } from '../report/event-log.ts';
import { beginPace, observePace } from './core/pace.ts';
import type { Pace } from './core/pace.ts';

/** As the leader: watches who confirms within a policy's time, and says when commits wait for fewer because of it. */
export class PolicyWatch {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #events: Pick<EventLog, 'add'>;
  #paces: ReadonlyMap<NodeId, Pace> = new Map();
  /** Who was waited for when a leadership began in a degraded cluster; null when it was not. */
  #keptUp: readonly NodeId[] | null = null;
  #isDegraded = false;

  constructor(clock: Pick<Clock, 'nowMs'>, events: Pick<EventLog, 'add'>) {
    this.#clock = clock;
    this.#events = events;
  }

  /** A leadership begins. What degraded the policy before need not be waited for once more. */
  begin(sync: SyncSet | undefined): void {
    this.#paces = new Map();
    this.#keptUp = sync?.isDegraded === true ? sync.members : null;
    this.#isDegraded = false;
  }

  /** Told of the record itself, so that a write whose outcome was unknown is told of too, and by a new leader once more. */
  tell({ isDegraded = false, members }: SyncSet): void {
    if (isDegraded === this.#isDegraded) return;
    this.#isDegraded = isDegraded;
    const who =
      members.length === 0 ? 'nobody; what is committed meanwhile only this node has' : 'fewer followers';
    this.#events.add(
      'sync-set',
      isDegraded
        ? `DEGRADED by the policy: commits wait for ${who}, until enough followers keep up again`
        : 'no longer degraded: commits wait for as many followers as the policy says',
    );
  }

  /** Those of the candidates that confirm in time. */
  observe(seen: {
    readonly policy: SyncPolicy;
    readonly candidates: readonly NodeId[];
    readonly followers: readonly StreamingFollower[];
    readonly leaderLsn: Lsn;
  }): readonly NodeId[] {
    const { policy, candidates, followers, leaderLsn } = seen;
    const { degradeAfterMs } = policy;
    if (degradeAfterMs === null) {
      // Should it not stay strict, time counts from then on.
      this.#paces = new Map();
      this.#keptUp = null;
      return candidates;
    }
    const nowMs = this.#clock.nowMs();
    this.#paces = new Map(
      candidates.map((name) => {
        const before = this.#paces.get(name) ?? beginPace(this.#keptUp?.includes(name) ?? true);
        const follower = followers.find((one) => one.name === name);
        return [name, observePace(before, leaderLsn, follower, degradeAfterMs, nowMs)];
      }),
    );
    this.#keptUp = null;
    return candidates.filter((name) => this.#paces.get(name)?.isOnTime === true);
  }
}

import { decideTakeover } from '../../../src/leader-follower/core/hand-over.ts';
import type { FinalPosition } from '../../../src/leader-follower/core/hand-over.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import { syncSetForElection } from '../../../src/leader-follower/core/sync-set.ts';
import {
  ARRIVAL_CHECK_MS,
  ARRIVAL_LIMIT_MS,
  SUPPORT_TIMEOUT_MS,
  TAKEOVER_TIMEOUT_MS,
} from '../../../src/leader-follower/patience.ts';
import { nextTimeline } from '../../../src/model/timeline.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';

/** What a leader whose log has ended tells its successor. */
export interface TakeoverRequest {
  readonly version: number;
  readonly state: ClusterState;
  readonly final: FinalPosition;
}

export type TakeoverReply = 'leads' | 'refused';

/**
 * The leader's side, as src/leader-follower/switchover/switchover.ts does it: its log ends, the register stands still, the
 * others let go, and the successor takes over. `leadOn` when it refuses; `giveUp` when it does not answer, or the log did not
 * end in order.
 */
export function handOver(
  agent: ModelAgent,
  to: NodeId,
  after: { readonly leadOn: () => void; readonly giveUp: () => void; readonly done: () => void },
): void {
  const { cluster, leadership, local, server } = agent;
  local.stop('fast', () => {
    const end = server.log.length;
    if (!server.hasEndedInOrder || end === 0) return after.giveUp();
    const final = { timeline: server.history.timeline, lsn: BigInt(end - 1) as Lsn };
    leadership.holdStill((still) => {
      if (still?.state == null) return after.giveUp();
      const request = { version: still.version, state: still.state, final };
      const successor = cluster.agentOf(to);
      for (const other of cluster.agents) {
        if (other === agent || other === successor) continue;
        cluster.network.send(agent.host, other.host, other.host.agent, () => other.letGo(request.version));
      }
      cluster.ask<TakeoverReply>(
        agent,
        successor,
        TAKEOVER_TIMEOUT_MS,
        (answer) => successor.requestTakeover(request, answer),
        (reply) => {
          cluster.note(agent.host, () => `  its successor ${reply ?? 'does not answer'}`);
          if (reply === 'refused') return after.leadOn();
          if (reply === null) return after.giveUp();
          leadership.drop();
          after.done();
        },
      );
    });
  });
}

/** The successor's side, as Executor.takeOver does it, between two rounds of its own. */
export function takeOver(
  agent: ModelAgent,
  request: TakeoverRequest,
  promote: (done: () => void) => void,
  answer: (reply: TakeoverReply) => void,
): void {
  const { cluster, host, leadership, server } = agent;
  const { version, state } = request;
  untilArrived(agent, request.final, (hasArrived) => {
    if (!hasArrived) return answer('refused');
    const sync = syncSetForElection(state.sync, host.name, cluster.countedBy(host));
    const announced = nextTimeline(server.newestTimeline);
    leadership.take(version, { ...state, sync }, state, announced, (isWon) => {
      cluster.note(host, () => (isWon ? '  takes over' : '  the register has moved on'));
      if (!isWon) return answer('refused');
      agent.news.won({ history: server.history, receivedLsn: server.shownLsn });
      leadership.whenHeld(SUPPORT_TIMEOUT_MS, () =>
        promote(() => answer(server.mode === 'leader' ? 'leads' : 'refused')),
      );
    });
  });
}

/** Whether all of the leader's log is here, or comes in time. */
function untilArrived(agent: ModelAgent, final: FinalPosition, done: (hasArrived: boolean) => void): void {
  const { host, server, mutant } = agent;
  const deadlineMs = host.nowMs() + ARRIVAL_LIMIT_MS;
  const look = (): void => {
    if (server.mode !== 'follower') return done(false);
    const own = { timeline: server.history.timeline, receivedLsn: server.shownLsn };
    const isThere = mutant === 'takeover-without-check' || decideTakeover(own, final).kind === 'take';
    // A suspended PostgreSQL does not say how far it is.
    if (isThere && host.postgres.isRunning) return done(true);
    if (host.nowMs() >= deadlineMs) return done(false);
    host.after(host.agent, ARRIVAL_CHECK_MS, look);
  };
  look();
}

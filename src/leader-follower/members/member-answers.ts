import { parseTerm } from '../../model/node.ts';
import type { AgentApi } from '../peers/api.ts';
import type { OpenCoordination } from '../config/coordination.ts';
import type { EventLog } from '../report/event-log.ts';
import type { Fence } from '../leadership/fence.ts';
import type { LeadershipRegister } from '../leadership/leadership.ts';
import type { News } from '../peers/news.ts';
import type { Peers } from '../peers/peers.ts';
import type { PromiseToLeader } from '../leadership/promise-to-leader.ts';
import { describeCluster, describeSelf } from '../report/self-report.ts';
import type { OwnVoteReport, ReportSources } from '../report/self-report.ts';

/** What every member tells and answers, with PostgreSQL or without. */
export type MemberAnswers = Pick<
  AgentApi,
  | 'status'
  | 'topology'
  | 'events'
  | 'subscribe'
  | 'onStatusChange'
  | 'vote'
  | 'standing'
  | 'answerPing'
  | 'onRefused'
  | 'nodes'
>;

/** `describe` gives the present state of the member; `wake` begins its next round at once. */
export function createMemberAnswers(member: {
  readonly coordination: OpenCoordination;
  readonly register: LeadershipRegister;
  readonly peers: Peers;
  readonly events: EventLog;
  readonly news: News;
  readonly fence: Fence;
  readonly promise: PromiseToLeader;
  readonly describe: () => ReportSources;
  readonly wake: () => void;
}): MemberAnswers {
  const { coordination, register, peers, events, news, fence, promise, describe } = member;
  const vote = (): OwnVoteReport => ({
    acceptor: coordination.acceptor,
    obstacle: coordination.voteObstacle(),
  });
  return {
    vote: coordination.vote,
    standing: coordination.standing,
    nodes: () => ({ version: register.known.version, nodes: describe().config.nodes }),
    status: () => describeSelf(describe(), vote()),
    topology: () => describeCluster(describe(), peers.reports(), vote()),
    events: () => events.recent,
    subscribe: (listener) => news.subscribe(listener),
    onStatusChange: (listener) => news.onStatusChange(listener),
    answerPing: (ping) => {
      const { term, holder } = register.known.state?.leadership ?? { term: parseTerm(0), holder: null };
      // A leader newer than the register as it was last read here: read it now.
      if (ping.term > term) member.wake();
      return promise.answer({ ping, term, holder, fencedAtVersion: fence.version });
    },
    onRefused: (reason) => events.addSeldom('error', reason),
  };
}

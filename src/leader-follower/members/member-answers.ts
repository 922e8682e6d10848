import { parseTerm } from '../../model/node.ts';
import type { AgentApi } from '../peers/api.ts';
import type { OpenCoordination } from '../config/coordination.ts';
import type { EventLog } from '../report/event-log.ts';
import type { Fence } from '../leadership/fence.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import type { News } from '../peers/news.ts';
import type { PromiseToLeader } from '../leadership/promise-to-leader.ts';
import { describeCluster, describeSelf } from '../report/self-report.ts';
import type { PeersPort } from '../ports.ts';
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

/** What of a member answers. */
interface AnsweringMember {
  readonly coordination: OpenCoordination;
  readonly register: RegisterReader;
  readonly peers: PeersPort;
  readonly events: EventLog;
  readonly news: News;
  readonly fence: Fence;
  readonly promise: PromiseToLeader;
  ownVote(): OwnVoteReport;
  /** Begins its next round at once. */
  wake(): void;
}

/** `describe` gives the present state of the member. */
export function createMemberAnswers(member: AnsweringMember, describe: () => ReportSources): MemberAnswers {
  const { coordination, register, peers, events, news, fence, promise } = member;
  return {
    vote: coordination.vote,
    standing: coordination.standing,
    nodes: () => ({ version: register.known.version, nodes: describe().config.nodes }),
    status: () => describeSelf(describe(), member.ownVote()),
    topology: () => describeCluster(describe(), peers.reports(), member.ownVote()),
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

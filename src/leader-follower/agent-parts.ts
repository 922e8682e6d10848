import type { Clock } from '../model/clock.ts';
import type { NodeId } from '../model/node.ts';
import type { ClusterConfig } from './config/config.ts';
import type { Merits } from './election/merits.ts';
import type { ComingLeadership } from './leadership/coming-leadership.ts';
import type { Fence } from './leadership/fence.ts';
import type { LeadershipHold } from './leadership/leadership-hold.ts';
import type { RegisterReader } from './leadership/register-reader.ts';
import type { NodeKeeper } from './members/node-keeper.ts';
import type { LocalPort, PeersPort } from './ports.ts';
import type { EventLog } from './report/event-log.ts';

/** The parts of an agent that carry out what was decided. */
export interface ExecutorOptions {
  readonly self: NodeId;
  readonly config: ClusterConfig;
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly local: LocalPort;
  readonly peers: PeersPort;
  readonly events: EventLog;
  readonly merits: Merits;
  readonly fence: Fence;
  readonly coming: ComingLeadership;
  readonly nodes: NodeKeeper;
  readonly clock: Clock;
  /** This node has begun to accept writes. */
  readonly onPromoted: () => Promise<void>;
}

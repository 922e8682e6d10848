import type { Clock } from '../../model/clock.ts';
import type { BetweenRounds } from '../between-rounds.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import type { PeerReport } from '../peers/peers.ts';
import type { EventLog } from '../report/event-log.ts';
import type { RescueCommand } from './rescue-command.ts';
import type { RescueList } from './rescue-log.ts';
import { Rescue } from './rescue.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import type { RescueStatus } from './rescue.ts';

/** What an agent of a delayed node serves at `/v1/rescue`. */
export interface RescueApi {
  status(): Promise<RescueStatus>;
  command(command: RescueCommand): Promise<RescueStatus | RescueList>;
}

/** The node that leads and says so itself; null while none does. */
export function servingLeader(state: ClusterState | null, reports: readonly PeerReport[]): NodeConfig | null {
  const leadership = state?.leadership;
  const holder = reports.find(({ node }) => node.name === leadership?.holder);
  const isServing =
    holder?.isReachable === true &&
    holder.status?.role === 'leader' &&
    holder.status.term === leadership?.term;
  return isServing ? holder.node : null;
}

/** Null on a node that is not delayed. */
export function createRescue(agent: {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly local: LocalPort;
  readonly events: EventLog;
  readonly register: RegisterReader;
  readonly peers: PeersPort;
  readonly betweenRounds: BetweenRounds;
  readonly clock: Clock;
}): Rescue | null {
  const { config, node, local, events, register, peers, betweenRounds, clock } = agent;
  const { delayed } = local;
  const leader = (): NodeConfig | null => servingLeader(register.known.state, peers.reports());
  if (delayed === null) return null;
  const rescue = new Rescue({ config, node, local, delayed, events, leader, clock });
  delayed.onTimeline = () =>
    void betweenRounds
      .ask(() => rescue.changeTimeline())
      .catch((error: unknown) => events.add('error', (error as Error).message));
  return rescue;
}

/** Opening and closing come between two of the agent's rounds; a listing disturbs none. */
export function serveRescue(rescue: Rescue, betweenRounds: BetweenRounds): RescueApi {
  return {
    status: () => rescue.status(),
    command: async (command) => {
      switch (command.kind) {
        case 'list':
          return rescue.log.list(command.sinceMs);
        case 'open':
          await rescue.log.untilAny();
          await betweenRounds.ask(() => rescue.open(command.before));
          return rescue.status();
        case 'close':
          await betweenRounds.ask(() => rescue.close());
          return rescue.status();
        default:
          return command satisfies never;
      }
    },
  };
}

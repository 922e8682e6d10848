import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import type { Ping, RightDeadlines } from '../../../src/leader-follower/core/support.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { RegisterClient } from './coordination.ts';
import type { Host } from './host.ts';
import type { MutantName } from './rules.ts';

/** What a model of the hold on the register works with, and whom it tells. */
export interface LeadershipOptions {
  readonly host: Host;
  /** All nodes, by their index. */
  readonly names: readonly NodeId[];
  /** Who votes by that state of the register. */
  readonly membersOf: (state: ClusterState | null) => readonly NodeId[];
  readonly mutant: MutantName | null;
  readonly client: RegisterClient;
  readonly nonce: () => string;
  readonly isServing: () => boolean;
  readonly sendPing: (ping: Ping, sentAtMs: number) => void;
  readonly onDeadlines: (deadlines: RightDeadlines) => void;
  readonly onDeposed: () => void;
  /** A change of members leaves for the acceptors now. */
  readonly onMembersSent: (members: readonly NodeId[]) => void;
  readonly onLost: () => void;
  readonly wake: () => void;
}

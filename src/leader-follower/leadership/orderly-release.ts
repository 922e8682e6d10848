import type { NodeId } from '../../model/node.ts';
import { voters } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { PeersPort } from '../ports.ts';
import type { LeadershipHold } from './leadership-hold.ts';

/** Gives the lease up where that can be written down, so that nobody has to wait for its end. */
export async function releaseInOrder(leader: {
  readonly self: NodeId;
  readonly config: ClusterConfig;
  readonly hold: LeadershipHold;
  readonly peers: PeersPort;
}): Promise<void> {
  const { self, config, hold, peers } = leader;
  const answers = await Promise.all(peers.reports().map((report) => peers.ask(report.node, 300)));
  const names = [self, ...answers.map((answer) => answer?.node)];
  const members = voters(config);
  const hasMajority = members.filter(({ name }) => names.includes(name)).length * 2 > members.length;
  // Without them the agents' own consensus could only wait; etcd does not need them.
  if (hasMajority || config.coordination.kind === 'etcd') await hold.release(null, true);
}

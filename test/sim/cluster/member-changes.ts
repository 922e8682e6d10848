import type { NodeId } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';
import type { Host } from './host.ts';
import type { Cluster } from './world.ts';

const LONGEST_GAP_MS = 1_600;
/** After so long, who heard no pings has lost the leader. */
const DEAF_BEFORE_MS = 700;

/** People give votes and take them while all the rest goes on, and at the worst of times. */
export function startMemberChanges(cluster: Cluster, untilMs: number): void {
  const { time, random, names, agents } = cluster;
  const isOver = (): boolean => time.nowMs() >= untilMs;
  cluster.onMembersSent = (leader, members) => {
    if (!isOver() && random() < 0.6) splitAfterChange(cluster, leader, members);
  };
  const next = (): (() => void) =>
    time.after(random() * LONGEST_GAP_MS, () => {
      if (isOver()) return;
      const name = names[Math.floor(random() * names.length)]!;
      const members = cluster.membersOf(cluster.checker.state);
      const rest = agents.filter(({ host }) => host.name !== name && members.includes(host.name));
      const isAdverse = random() < 0.5;
      const deaf = random() < 0.5 ? rest : agents.filter(() => random() < 0.5);
      if (isAdverse) for (const { host } of deaf) host.isDeaf = true;
      time.after(isAdverse ? DEAF_BEFORE_MS : 0, () => changeMember(cluster, name));
      time.after(DEAF_BEFORE_MS + random() * 2_000, () => {
        for (const { host } of deaf) host.isDeaf = false;
      });
      next();
    });
  next();
}

/** Whoever leads, or believes so, is asked. */
function changeMember(cluster: Cluster, name: NodeId): void {
  for (const { host, leadership } of cluster.agents) {
    if (!host.agent.isRunning || leadership.ownLease.kind !== 'held') continue;
    const members = cluster.membersOf(leadership.known.state);
    const rest = members.filter((member) => member !== name);
    const isRevoked = rest.length < members.length;
    if (isRevoked && (name === host.name || rest.length === 0)) continue;
    const next = isRevoked ? rest : [...members, name];
    cluster.note(host, () => `members are to be ${next.join(' ')}`);
    leadership.changeMembers(next);
  }
}

/** While the acceptors' answers may still be on their way; often along the line that would hurt most. */
function splitAfterChange(cluster: Cluster, leader: Host, members: readonly NodeId[]): void {
  const { network, agents, time, random } = cluster;
  const isByMembers = random() < 0.6;
  const isFar = ({ host }: ModelAgent): boolean =>
    host !== leader && (isByMembers ? members.includes(host.name) : random() < 0.6);
  const far = agents.filter(isFar);
  const links = agents
    .filter((agent) => !far.includes(agent))
    .flatMap((near) => far.map((other) => [near.host, other.host] as const));
  time.after(random() ** 2 * 12, () => {
    cluster.note(leader, () => `FAULT cut off from ${far.map(({ host }) => host.name).join(' ')}`);
    for (const [near, other] of links) {
      network.cut(near, other);
      network.cut(other, near);
    }
    time.after(random() * 4_000, () => {
      for (const [near, other] of links) {
        network.mend(near, other);
        network.mend(other, near);
      }
    });
  });
}

import type { NodeId } from '../model/node.ts';
import type { ClusterState } from './core/cluster-state.ts';
import { decideElection } from './core/elect.ts';
import type { ElectionDecision, FencedPosition } from './core/elect.ts';
import { syncSetForElection } from './core/sync-set.ts';
import type { ClusterConfig } from './config.ts';
import type { LeadershipRegister } from './leadership.ts';
import type { LocalNode } from './local-node.ts';
import type { Merits } from './merits.ts';
import type { Peers } from './peers.ts';
import { decodeHistory } from './status.ts';
import { parseLsn } from '../model/lsn.ts';

const FENCE_TIMEOUT_MS = 1_500;
/** Once enough members answered, how long the others may still tell of newer data. */
const LATECOMER_MS = 50;

export type CampaignResult =
  { readonly kind: 'won'; readonly reason: string } | { readonly kind: 'lost'; readonly reason: string };

/**
 * One attempt to become the leader: cut everyone reachable off from the old leader, compare positions,
 * and only then take the register, at the version that was seen before the fencing began. If the old
 * leader renewed meanwhile, the version moved on and the attempt fails, so that a follower which went
 * back to it did no harm (I2).
 */
export async function campaign(options: {
  readonly self: NodeId;
  readonly config: ClusterConfig;
  readonly register: LeadershipRegister;
  readonly local: LocalNode;
  readonly peers: Peers;
  readonly merits: Merits;
  readonly version: number;
  readonly state: ClusterState;
}): Promise<CampaignResult> {
  const { self, config, register, peers, version, state } = options;
  const others = config.nodes.filter((node) => node.name !== self);
  const own = await options.local.fencedPosition();
  if (own === null) return { kind: 'lost', reason: 'the own position could not be read' };
  const positions: FencedPosition[] = [{ node: self, ...own }];
  const judge = (): ElectionDecision =>
    decideElection({
      self,
      sync: state.sync,
      lastHolder: state.leadership.holder,
      timeline: state.leadership.timeline,
      positions,
      neverLead: options.merits.neverLead,
    });
  await new Promise<void>((resolve) => {
    // Who led last has every commit: it needs nobody's position, only the register.
    const asked = state.leadership.holder === self ? [] : others;
    let pending = asked.length;
    if (pending === 0) resolve();
    for (const node of asked) {
      void peers.fence(node, version, FENCE_TIMEOUT_MS).then((reply) => {
        if (reply?.kind === 'fenced') {
          positions.push({
            node: node.name,
            history: decodeHistory(reply.history),
            receivedLsn: parseLsn(reply.receivedLsn),
          });
        }
        if (--pending === 0) resolve();
        else if (judge().kind === 'stand') setTimeout(resolve, LATECOMER_MS);
      });
    }
  });
  const decision = judge();
  if (decision.kind !== 'stand') return { kind: 'lost', reason: decision.reason };
  const sync = syncSetForElection(
    state.sync,
    self,
    others.map((node) => node.name).filter((name) => !options.merits.neverLead.includes(name)),
  );
  const next = { ...state, lostLeaderships: options.merits.lossesAfter(state) };
  const isWon = await register.campaign(version, next, sync.recorded);
  return isWon
    ? { kind: 'won', reason: decision.reason }
    : { kind: 'lost', reason: 'another took or renewed the lease first' };
}

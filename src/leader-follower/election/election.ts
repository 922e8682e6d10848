import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import type { CampaignGround } from '../core/action.ts';
import { decideElection } from '../core/elect.ts';
import type { ElectionDecision, FencedPosition } from '../core/elect.ts';
import { fencesNeeded } from '../core/support.ts';
import { countedOthers } from '../core/sync-policy.ts';
import { syncSetForElection } from '../core/sync-set.ts';
import { voters } from '../config/config.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { LogEnd } from '../rejoin/log-end.ts';
import type { ComingLeadership } from '../leadership/coming-leadership.ts';
import { lacksShown } from '../duties/core/shown-log.ts';
import { readShownLog } from '../duties/shown-log-keeper.ts';
import type { Fence } from '../leadership/fence.ts';
import type { LeadershipHold } from '../leadership/leadership-hold.ts';
import type { Merits } from './merits.ts';
import { decodePosition } from '../report/status.ts';
import { FENCE_TIMEOUT_MS, LATECOMER_MS, SUPPORT_TIMEOUT_MS } from '../patience.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import { nextTimeline } from '../../model/timeline.ts';

const OUTRUN_CHECK_MS = 10;

const PUT_BACK =
  'its data end before what followers had of it: they were put back from a copy, and others may hold commits that it lacks. Start the others; where none of them has its data any more, remove the file "shown-log" beside the data to go on without';

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
  readonly hold: LeadershipHold;
  readonly local: LocalPort;
  readonly peers: PeersPort;
  readonly merits: Merits;
  readonly version: number;
  readonly state: ClusterState;
  readonly ground: CampaignGround;
  readonly fence: Fence;
  readonly coming: ComingLeadership;
  readonly clock: Clock;
}): Promise<CampaignResult> {
  const { self, config, hold, version, state } = options;
  const others = config.nodes.filter((node) => node.name !== self);
  const { decision, end } = await gatherFences(options, others);
  if (decision.kind !== 'stand') return { kind: 'lost', reason: decision.reason };
  if (state.leadership.holder === self && end !== null) {
    const shown = await readShownLog(options.local.dataDir);
    if (lacksShown(end, shown)) return { kind: 'lost', reason: PUT_BACK };
  }
  const sync = syncSetForElection(state.sync, self, countedOthers(config.nodes, self, state.policy));
  const next = { ...state, lostLeaderships: options.merits.lossesAfter(state) };
  const isWon = await hold.campaign(version, next, sync, end && nextTimeline(end.newestTimeline));
  if (!isWon) return { kind: 'lost', reason: 'another took or renewed the lease first' };
  options.coming.won(end);
  await hold.untilHeld(SUPPORT_TIMEOUT_MS);
  return { kind: 'won', reason: decision.reason };
}

/** Fences this node and the others at the campaign's version, and judges by what they tell. */
async function gatherFences(
  options: Parameters<typeof campaign>[0],
  others: readonly NodeConfig[],
): Promise<{ readonly decision: ElectionDecision; readonly end: LogEnd | null }> {
  const { self, config, peers, local, version, state, ground, fence, clock } = options;
  const { holder, timeline, announcedTimeline = null } = state.leadership;
  const positions: FencedPosition[] = [];
  const members = voters(config).map((node) => node.name);
  const fenced = new Set<NodeId>(members.includes(self) ? [self] : []);
  const { quorum, isSuspicion } = fencesNeeded(ground, members.length, members.includes(self));
  const judge = (): ElectionDecision => {
    if (fenced.size < quorum) {
      return {
        kind: 'wait',
        reason: `only ${[...fenced].join(', ') || 'nobody'} of the ${quorum} needed lost ${holder}`,
      };
    }
    const { neverLead } = options.merits;
    return decideElection({
      self,
      sync: state.sync,
      lastHolder: holder,
      timeline,
      announcedTimeline,
      positions,
      neverLead,
    });
  };
  // From here on this node does not support the holder at this version, nor stream from it.
  fence.raise(version);
  let end: LogEnd | null = null;
  const own = local.fencedPosition().then((position) => {
    end = position;
    if (position !== null) positions.push({ node: self, ...position });
  });
  let endWatch = (): void => undefined;
  await new Promise<void>((resolve) => {
    // Who led last has every commit: it needs nobody's position, only the register.
    const asked = holder === self ? [] : others;
    let pending = asked.length;
    // The holder, which may hang, has nothing that the others' positions do not settle.
    let rivals = asked.filter((node) => node.name !== holder).length;
    if (pending === 0) return resolve();
    // Who won meanwhile answers only once it is promoted, and wants to be followed before.
    endWatch = every(clock, OUTRUN_CHECK_MS, () => {
      if (peers.reports().some(({ status }) => status !== null && status.version > version)) resolve();
    });
    for (const node of asked) {
      const request = { version, isSuspicion };
      void peers.fence(node, request, FENCE_TIMEOUT_MS).then(async (reply) => {
        if (reply?.kind === 'fenced') {
          if (node.name !== holder && node.voter) fenced.add(node.name);
          if (reply.position !== null) {
            positions.push({ node: node.name, ...decodePosition(reply.position) });
          }
        }
        await own;
        pending -= 1;
        if (node.name !== holder) rivals -= 1;
        if (pending === 0) resolve();
        else if (judge().kind === 'stand') clock.after(rivals === 0 ? 0 : LATECOMER_MS, resolve);
      });
    }
  });
  endWatch();
  await own;
  return { decision: judge(), end };
}

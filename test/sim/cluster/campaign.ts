import { decideElection } from '../../../src/leader-follower/core/elect.ts';
import type { ElectionDecision, FencedPosition } from '../../../src/leader-follower/core/elect.ts';
import type { CampaignGround } from '../../../src/leader-follower/core/action.ts';
import { fencesNeeded } from '../../../src/leader-follower/core/support.ts';
import { syncSetForElection } from '../../../src/leader-follower/core/sync-set.ts';
import type { View } from '../../../src/leader-follower/core/view.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { FENCE_TIMEOUT_MS, LATECOMER_MS, SUPPORT_TIMEOUT_MS } from '../../../src/leader-follower/patience.ts';
import type { FenceReply, ModelAgent } from './agent.ts';
import type { FencedEnd } from './local-node.ts';
import type { ModelPostgres } from './postgres.ts';
import { nextTimeline } from '../../../src/model/timeline.ts';
import type { Entry } from './wal.ts';

interface OwnEnd {
  position: FencedEnd | null;
}

/** One attempt, as src/leader-follower/election/election.ts makes it. */
export function campaign(
  agent: ModelAgent,
  view: View,
  ground: CampaignGround,
  done: (isWon: boolean) => void,
): void {
  const { cluster, host, leadership } = agent;
  const { register } = view;
  if (register?.state == null) return done(false);
  const { version, state } = register;
  const heard: { server: ModelPostgres; end: Entry | undefined }[] = [];
  const own: OwnEnd = { position: null };
  gather(agent, version, state, ground, heard, own, (decision) => {
    cluster.note(host, () => `  ${decision.kind}: ${decision.reason}`);
    if (decision.kind !== 'stand') return done(false);
    const sync = syncSetForElection(state.sync, host.name, cluster.countedBy(host));
    const announced = own.position && nextTimeline(own.position.newestTimeline);
    leadership.take(version, { ...state, sync }, state, announced, (isWon) => {
      cluster.note(host, () => (isWon ? `  won term ${leadership.known.state?.leadership.term}` : '  lost'));
      if (!isWon) return done(false);
      cluster.checker.onElected(agent.server, heard);
      agent.news.won(own.position);
      leadership.whenHeld(SUPPORT_TIMEOUT_MS, () => done(true));
    });
  });
}

function gather(
  agent: ModelAgent,
  version: number,
  state: NonNullable<NonNullable<View['register']>['state']>,
  ground: CampaignGround,
  heard: { server: ModelPostgres; end: Entry | undefined }[],
  own: OwnEnd,
  done: (decision: ElectionDecision) => void,
): void {
  const { cluster, host, mutant } = agent;
  const { holder, timeline } = state.leadership;
  const announcedTimeline =
    mutant === 'timeline-not-announced' ? null : (state.leadership.announcedTimeline ?? null);
  const positions: FencedPosition[] = [];
  const members = cluster.membersOf(state);
  const isMember = members.includes(host.name);
  const fenced = new Set<NodeId>(isMember ? [host.name] : []);
  const { quorum, isSuspicion } =
    mutant === 'guest-needs-no-member' && ground === 'expired'
      ? { quorum: 0, isSuspicion: false }
      : fencesNeeded(ground, members.length, isMember);
  const add = (server: ModelPostgres, position: FencedEnd | null): void => {
    if (position === null) return;
    heard.push({ server, end: position.end });
    const { timeline } = position.history;
    const { receivedLsn, newestTimeline } = position;
    // By number alone: whatever promotion came last counts as the newest.
    const history = mutant === 'timelines-by-number' ? { timeline, ancestors: [] } : position.history;
    positions.push({ node: server.host.name, history, receivedLsn, newestTimeline });
  };
  const sync =
    mutant === 'small-election-quorum' ? { ...state.sync, required: state.sync.required + 1 } : state.sync;
  const judge = (): ElectionDecision => {
    const isOneLess = mutant === 'fence-quorum-one-less' && ground === 'suspected';
    const needed = quorum - (isOneLess ? 1 : 0);
    if (fenced.size < needed) return { kind: 'wait', reason: `only ${fenced.size} of ${needed} fenced` };
    const known = mutant === 'timelines-by-number' ? null : timeline;
    return decideElection({
      self: host.name,
      sync,
      lastHolder: holder,
      timeline: known,
      announcedTimeline,
      positions,
      neverLead: mutant === 'delayed-may-lead' ? [] : cluster.delayed,
    });
  };
  const fencesItself = mutant !== 'candidate-does-not-fence-itself' && mutant !== 'no-cut-off';
  if (fencesItself) agent.leadership.raiseFence(version);
  const asked = holder === host.name ? [] : cluster.agents.filter((other) => other !== agent);
  // The own position is the first to be waited for.
  let pending = asked.length + 1;
  let isDone = false;
  const finish = (): void => {
    if (isDone) return;
    isDone = true;
    done(judge());
  };
  const oneLess = (): void => {
    if (--pending === 0) finish();
    else if (!isDone && judge().kind === 'stand')
      host.after(host.agent, mutant === 'promise-without-margin' ? 0 : LATECOMER_MS, finish);
  };
  agent.local.fencedPosition((position) => {
    own.position = position;
    add(agent.server, position);
    oneLess();
  });
  for (const other of asked) {
    cluster.ask<FenceReply>(
      agent,
      other,
      FENCE_TIMEOUT_MS,
      (answer) => other.fence(version, isSuspicion, answer),
      (reply) => {
        if (reply?.kind === 'fenced') {
          if (other.host.name !== holder && members.includes(other.host.name)) fenced.add(other.host.name);
          if (!isDone) add(other.server, reply.position);
        }
        oneLess();
      },
    );
  }
}

import type { Action } from './action.ts';
import { isSharedHistory } from '../../model/timeline.ts';
import { comparePositions, mayLead, meritOf, rankByMerit } from './candidate.ts';
import type { Merit } from './candidate.ts';
import type { ClusterState } from './cluster-state.ts';
import { canHandOver, handOverIfFailing, handOverIfFull } from './leader-health.ts';
import { decideRejoin } from './rejoin.ts';
import { chooseUpstream } from './upstream.ts';
import type { OwnLease, PeerView, View } from './view.ts';

/** How long a node that is not first in line lets the ones before it campaign. */
const CAMPAIGN_STAGGER_MS = 400;
/** A follower that cannot stream for this long from a leader that answers is cloned anew. */
const STALLED_AFTER_MS = 30_000;
/** PostgreSQL may end once for a reason that has passed. */
const PROMOTIONS_TRIED = 2;
/** How long a node that gave the lease up waits for another to take it. */
const RECLAIM_AFTER_MS = 4_000;

/**
 * What this node does now. Pure: the same view gives the same actions. At most one action that changes
 * PostgreSQL, so that the next decision sees its effect.
 */
export function decide(view: View): readonly Action[] {
  if (view.register === null) return decideAlone(view);
  const state = view.register.state;
  if (state === null) return decideFounding(view);

  if (
    view.localSystemIdentifier !== null &&
    state.systemIdentifier !== null &&
    view.localSystemIdentifier !== state.systemIdentifier
  ) {
    return [
      {
        kind: 'refuse',
        reason: `the data folder belongs to another cluster (system identifier ${view.localSystemIdentifier}, this cluster has ${state.systemIdentifier})`,
      },
    ];
  }
  if (state.leadership.holder === view.self) {
    return view.ownLease.kind === 'none'
      ? decideAsFormerHolder(view, state)
      : decideAsHolder(view, state, view.ownLease);
  }
  return decideAsOther(view, state);
}

/** Coordination cannot be read: nothing new may be taken, and what was held ends in time (I6). */
function decideAlone(view: View): readonly Action[] {
  if (view.local.kind === 'leader' && view.ownLease.kind === 'none') {
    return [{ kind: 'demote', reason: 'the lease ran out and coordination cannot be read' }];
  }
  return [];
}

/** Only the first configured node that may lead founds, and only when nobody has data: a lost register is not a new cluster. */
function decideFounding(view: View): readonly Action[] {
  if (view.local.kind === 'leader') {
    return [{ kind: 'demote', reason: 'coordination knows of no cluster' }];
  }
  if (view.localSystemIdentifier !== null) {
    return [
      {
        kind: 'refuse',
        reason:
          'the data folder holds a cluster that coordination knows nothing of; its files were lost or belong to another cluster',
      },
    ];
  }
  const isFirst = view.founders.find((node) => mayLead(meritOf(view.merits, node))) === view.self;
  const isEveryoneEmpty = view.peers.every((peer) => peer.isReachable && peer.hasData === false);
  return isFirst && isEveryoneEmpty ? [{ kind: 'found-cluster' }] : [];
}

function decideAsHolder(
  view: View,
  state: ClusterState,
  lease: Exclude<OwnLease, { kind: 'none' }>,
): readonly Action[] {
  switch (view.local.kind) {
    case 'absent':
      return state.systemIdentifier === null
        ? [{ kind: 'create-data-folder' }]
        : [{ kind: 'release', reason: 'the data folder is gone' }];
    case 'stopped':
      if (hasFailedToLead(view)) return [{ kind: 'release', reason: 'its promotion failed again' }];
      return canHandOver(view, state)
        ? [{ kind: 'release', reason: 'PostgreSQL stopped and a follower can take over' }]
        : [{ kind: 'start', reason: 'PostgreSQL stopped and no follower can take over' }];
    case 'silent':
      return handOverIfFailing(view, state) ?? [];
    case 'follower':
      return lease.kind === 'held' ? [{ kind: 'promote', term: lease.term }] : [];
    case 'leader':
      if (lease.kind !== 'held') return [];
      return handOverIfFailing(view, state) ?? handOverIfFull(view, state) ?? [{ kind: 'lead' }];
    default:
      return view.local satisfies never;
  }
}

/** It led last, in an earlier life or until its lease ran out: it has every commit, but not the right to write. */
function decideAsFormerHolder(view: View, state: ClusterState): readonly Action[] {
  switch (view.local.kind) {
    case 'absent':
      return state.systemIdentifier === null ? [{ kind: 'found-cluster' }] : [];
    case 'stopped':
      return [{ kind: 'start', reason: 'a node starts as a follower' }];
    case 'silent':
      return [];
    case 'leader':
      return [{ kind: 'demote', reason: 'it leads without a lease' }];
    case 'follower': {
      if (!mayLead(meritOf(view.merits, view.self))) return [];
      // After handing over, or failing again and again, the others go first; it stands when none of them did.
      const shouldWait = state.leadership.isReleased || meritOf(view.merits, view.self).losses > 0;
      const canOthers = canHandOver(view, state) || hasFailedToLead(view);
      const isForOthers = shouldWait && canOthers && view.leaseExpiredForMs < RECLAIM_AFTER_MS;
      return isForOthers
        ? []
        : [{ kind: 'campaign', ground: 'led-last', reason: 'led last and no other leads' }];
    }
    default:
      return view.local satisfies never;
  }
}

/**
 * It was elected and PostgreSQL ended in its promotion, for want of room for instance. It has accepted no write, and
 * as a follower it can tell another candidate so, which needs nobody else then.
 */
function hasFailedToLead(view: View): boolean {
  const canOthers = view.peers.some(
    (peer) => peer.isReachable && peer.role === 'follower' && mayLead(meritOf(view.merits, peer.name)),
  );
  return canOthers && view.failedPromotions >= PROMOTIONS_TRIED;
}

function decideAsOther(view: View, state: ClusterState): readonly Action[] {
  const holder = view.peers.find((peer) => peer.name === state.leadership.holder);
  switch (view.local.kind) {
    case 'silent':
      return [];
    case 'leader':
      return [{ kind: 'demote', reason: `${state.leadership.holder} leads term ${state.leadership.term}` }];
    case 'absent':
      return holder !== undefined && isServing(holder, state) && !view.isLeaseExpired
        ? [{ kind: 'clone', from: chooseUpstream(view, holder).name, reason: 'it has no data yet' }]
        : [];
    case 'stopped':
      return [{ kind: 'start', reason: 'a node starts as a follower' }];
    case 'follower':
      return decideCandidacy(view, state) ?? decideFollowing(view, state, holder);
    default:
      return view.local satisfies never;
  }
}

/** Null while the holder is to be followed. */
function decideCandidacy(view: View, state: ClusterState): readonly Action[] | null {
  const { holder, isReleased } = state.leadership;
  const isExpired = view.isLeaseExpired && view.leaderLostForMs > 0;
  if (!isReleased && !isExpired && !view.isLeaderSuspected) return null;
  if (!mayLead(meritOf(view.merits, view.self))) return [];
  const waitedMs = isReleased || isExpired ? view.leaseExpiredForMs : view.leaderLostForMs;
  if (waitedMs < campaignRank(view, state) * CAMPAIGN_STAGGER_MS) return [];
  if (isReleased) return [{ kind: 'campaign', ground: 'released', reason: `${holder} gave the lease up` }];
  if (isExpired) return [{ kind: 'campaign', ground: 'expired', reason: `the lease of ${holder} ran out` }];
  return [{ kind: 'campaign', ground: 'suspected', reason: `enough members have lost ${holder}` }];
}

/** Staggers challengers: a switchover's successor first, then the newest data, then merit. */
function campaignRank(view: View, state: ClusterState): number {
  const { successor, holder } = state.leadership;
  if (successor === view.self || view.local.kind !== 'follower') return 0;
  const own = view.local;
  const equals: Merit[] = [meritOf(view.merits, view.self)];
  let ahead = 0;
  for (const peer of view.peers) {
    const isRival = peer.isReachable && peer.role === 'follower' && peer.name !== holder;
    if (!isRival || !mayLead(meritOf(view.merits, peer.name))) continue;
    if (peer.name === successor) ahead++;
    else if (peer.receivedLsn !== null) {
      const position = { history: peer.history ?? own.history, receivedLsn: peer.receivedLsn };
      const difference = comparePositions(position, own);
      if (difference > 0) ahead++;
      else if (difference === 0) equals.push(meritOf(view.merits, peer.name));
    }
  }
  return ahead + rankByMerit(equals).findIndex(({ node }) => node === view.self);
}

function decideFollowing(view: View, state: ClusterState, holder: PeerView | undefined): readonly Action[] {
  if (view.local.kind !== 'follower' || view.register === null) return [];
  if (view.register.version <= view.fencedAtVersion) return [];
  if (holder === undefined) return [];
  if (!isServing(holder, state)) return decideFollowingEarly(view, state, holder);
  if (holder.history === null) return [];
  const upstream = chooseUpstream(view, holder);
  if (view.local.following === upstream.name) {
    const { tooLowSettings } = view.local;
    if (tooLowSettings !== null) {
      return [{ kind: 'restart', reason: `the leader's log needs higher settings: ${tooLowSettings}` }];
    }
    if (view.local.isReceiving) return [{ kind: 'keep-slots' }];
    // It slept while this leader lost the leadership and won it back: it will not be sent what it asks for.
    if (!isSharedHistory(holder.history, view.local.history, view.local.replayedLsn))
      return [{ kind: 'detach' }];
    return view.local.stalledForMs < STALLED_AFTER_MS
      ? []
      : [{ kind: 'clone', from: holder.name, reason: 'the leader no longer has the log that it needs' }];
  }
  if (view.local.following !== null) return [{ kind: 'detach' }];
  if (view.local.endLsn === null) return [];
  const rejoin = decideRejoin({
    localSystemIdentifier: view.localSystemIdentifier ?? '',
    clusterSystemIdentifier: state.systemIdentifier ?? '',
    localHistory: view.local.history,
    localEndLsn: view.local.endLsn,
    leaderHistory: holder.history,
    canRewind: view.canRewind,
    hasRewindFailed: view.hasRewindFailed,
  });
  switch (rejoin.kind) {
    case 'follow':
      return [{ kind: 'follow', leader: upstream.name, term: state.leadership.term }];
    case 'rewind':
      return [{ kind: 'rewind', from: holder.name, reason: rejoin.reason }];
    case 'reclone':
      return [{ kind: 'clone', from: upstream.name, reason: rejoin.reason }];
    case 'refuse':
      return [{ kind: 'refuse', reason: rejoin.reason }];
    default:
      return rejoin satisfies never;
  }
}

/**
 * Attaches to the holder of the newest term while it is still being promoted, so that its first synchronous
 * commit waits for nobody to come. Only when this node holds no more than the holder will fork off at: all
 * else (a rewind, a copy, letting another go) waits until the holder's new history is there.
 */
function decideFollowingEarly(view: View, state: ClusterState, holder: PeerView): readonly Action[] {
  const from = holder.promotesFrom;
  const isComing = from !== null && holder.isReachable && holder.term === state.leadership.term;
  if (!isComing || view.local.kind !== 'follower' || view.local.following !== null) return [];
  if (view.local.endLsn === null || view.local.endLsn > from.receivedLsn) return [];
  if (view.localSystemIdentifier !== state.systemIdentifier) return [];
  return isSharedHistory(from.history, view.local.history, view.local.endLsn)
    ? [{ kind: 'follow', leader: holder.name, term: state.leadership.term }]
    : [];
}

/** The holder says itself that it leads this term: its PostgreSQL is promoted. */
function isServing(holder: PeerView, state: ClusterState): boolean {
  return holder.isReachable && holder.role === 'leader' && holder.term === state.leadership.term;
}

import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { SyncSet } from './cluster-state.ts';

/** A follower as the leader's pg_stat_replication shows it. */
export interface StreamingFollower {
  readonly name: NodeId;
  /** Streaming, not still catching up. */
  readonly isStreaming: boolean;
  readonly flushLsn: Lsn | null;
}

export interface SyncSetView {
  readonly self: NodeId;
  /** The set stored in coordination. */
  readonly recorded: SyncSet;
  /** The names PostgreSQL waits for now, from its running synchronous_standby_names. */
  readonly active: readonly NodeId[];
  readonly followers: readonly StreamingFollower[];
  /** Somebody removes the last other node that commits could wait for: then they wait for nobody. */
  readonly isToBeAlone: boolean;
  /** Followers that streamed within the removal delay: a hiccup does not change the set. */
  readonly recentlyStreaming: readonly NodeId[];
  /**
   * The leader's flush position, read after every walsender surely works with `active`; null while that
   * is not sure yet.
   */
  readonly barrierLsn: Lsn | null;
}

export type SyncSetStep =
  | { readonly kind: 'keep' }
  | {
      readonly kind: 'record';
      readonly members: readonly NodeId[];
      /** Missing: as is recorded. */
      readonly required?: number;
      readonly isDegraded?: boolean;
      readonly reason: string;
    }
  | {
      readonly kind: 'activate';
      readonly members: readonly NodeId[];
      /** Missing: as is recorded. */
      readonly required?: number;
      readonly reason: string;
    };

/**
 * The next safe step towards "the streaming followers are the sync set". Safe order, after Patroni's
 * quorum.py: a node is recorded before PostgreSQL may count it, and leaves the record only after
 * PostgreSQL stopped counting it *and* `required` of the rest have passed everything that was
 * acknowledged with its help. The last member is never dropped: synchronous commits then wait rather
 * than lie, unless people removed every other node.
 */
export function decideSyncSet(view: SyncSetView): SyncSetStep {
  const recorded = new Set(view.recorded.members);
  const active = new Set(view.active);
  const streaming = view.followers
    .filter((follower) => follower.isStreaming)
    .map((follower) => follower.name);

  if (recorded.size === 0) return decideFirstSet(view, active, sorted(streaming));
  // From here on only this leader may be elected, and it has everything.
  if (view.isToBeAlone)
    return { kind: 'record', members: [], reason: 'no other node is left that could lead' };
  const unrecorded = streaming.filter((name) => !recorded.has(name));
  if (unrecorded.length > 0) {
    return {
      kind: 'record',
      members: sorted([...recorded, ...unrecorded]),
      reason: `${unrecorded.join(', ')} caught up`,
    };
  }

  const alive = new Set([...streaming, ...view.recentlyStreaming]);
  const wanted = sorted([...recorded].filter((name) => name !== view.self && alive.has(name)));
  if (wanted.length >= view.recorded.required && !isSame(wanted, active)) {
    return { kind: 'activate', members: wanted, reason: describeChange(active, wanted) };
  }

  const surplus = [...recorded].filter((name) => !active.has(name));
  if (surplus.length === 0 || active.size < view.recorded.required || view.barrierLsn === null) {
    return { kind: 'keep' };
  }
  if (countPassed(view, active, view.barrierLsn) < view.recorded.required) return { kind: 'keep' };
  return {
    kind: 'record',
    members: sorted([...active]),
    reason: `${surplus.join(', ')} ${surplus.length === 1 ? 'is' : 'are'} no longer needed for any acknowledged commit`,
  };
}

/**
 * A new cluster's first members. Until they are recorded nobody but the leader can be elected, so PostgreSQL
 * waits for them first: what it acknowledged before, with no follower, is on them when they are recorded.
 */
function decideFirstSet(
  view: SyncSetView,
  active: ReadonlySet<NodeId>,
  streaming: readonly NodeId[],
): SyncSetStep {
  if (view.isToBeAlone && active.size > 0)
    return { kind: 'activate', members: [], reason: describeChange(active, []) };
  if (streaming.length < view.recorded.required) return { kind: 'keep' };
  if (!isSame(streaming, active))
    return { kind: 'activate', members: streaming, reason: describeChange(active, streaming) };
  const barrier = view.barrierLsn;
  if (barrier === null || countPassed(view, active, barrier) < view.recorded.required)
    return { kind: 'keep' };
  return { kind: 'record', members: streaming, reason: 'they hold all that was acknowledged' };
}

function countPassed(view: SyncSetView, active: ReadonlySet<NodeId>, barrier: Lsn): number {
  return view.followers.filter(
    ({ name, flushLsn }) => active.has(name) && flushLsn !== null && flushLsn >= barrier,
  ).length;
}

/**
 * What a new leader records with its election. Nobody is dropped from the record here: the others have not passed the new
 * leader's position yet.
 */
export function syncSetForElection(recorded: SyncSet, self: NodeId, all: readonly NodeId[]): SyncSet {
  const remaining = recorded.members.filter((name) => name !== self);
  // Nothing was ever synchronous: a lone leader must be able to write while its first followers are built.
  if (recorded.members.length === 0) return recorded;
  const others = remaining.length >= recorded.required ? remaining : all;
  return { ...recorded, members: sorted([...new Set([...recorded.members, self, ...others])]) };
}

/** PostgreSQL's text for the set: `ANY 1 (n2, n3)`, or nothing. Node names need no quoting. */
export function formatSynchronousStandbyNames(required: number, members: readonly NodeId[]): string {
  return members.length === 0 ? '' : `ANY ${required} (${members.join(', ')})`;
}

/** How many PostgreSQL waits for by a value that {@link formatSynchronousStandbyNames} made; 0 when for nobody. */
export function parseRequired(text: string): number {
  return Number(/^ANY (\d+) \(/.exec(text)?.[1] ?? 0);
}

/** The names in a value that {@link formatSynchronousStandbyNames} made. */
export function parseSynchronousStandbyNames(text: string): NodeId[] {
  const list = /\(([^)]*)\)/.exec(text)?.[1] ?? '';
  return sorted(
    list
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '') as NodeId[],
  );
}

function describeChange(active: ReadonlySet<NodeId>, wanted: readonly NodeId[]): string {
  const added = wanted.filter((name) => !active.has(name));
  const removed = [...active].filter((name) => !wanted.includes(name));
  const parts: string[] = [];
  if (added.length > 0) parts.push(`${added.join(', ')} joined`);
  if (removed.length > 0) parts.push(`${removed.join(', ')} left`);
  return parts.join('; ');
}

function isSame(names: readonly NodeId[], set: ReadonlySet<NodeId>): boolean {
  return names.length === set.size && names.every((name) => set.has(name));
}

function sorted(names: readonly NodeId[]): NodeId[] {
  return [...names].sort();
}

import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import { mayLead } from './candidate.ts';
import type { SyncPolicy, SyncSet } from './cluster-state.ts';
import type { StreamingFollower, SyncSetStep } from './sync-set.ts';

export interface PolicyView {
  readonly policy: SyncPolicy;
  /** The set stored in coordination. */
  readonly recorded: SyncSet;
  /** What PostgreSQL waits for now, from its running synchronous_standby_names. */
  readonly active: CountedSet;
  /** Whom commits may wait for: {@link countedOthers}. */
  readonly candidates: readonly NodeId[];
  /** Those of them that are connected. */
  readonly followers: readonly StreamingFollower[];
  /** Followers that streamed within the removal delay: a hiccup does not change the set. */
  readonly recentlyStreaming: readonly NodeId[];
  /** Those that confirm within the policy's time; all of them where it is strict. */
  readonly onTime: readonly NodeId[];
  /** Somebody removes the last other node that commits could wait for: then they wait for nobody. */
  readonly isToBeAlone: boolean;
  /**
   * The leader's flush position, read after every walsender surely works with `active`; null while that is not sure
   * yet. Every commit that was acknowledged under anything else lies before it.
   */
  readonly barrierLsn: Lsn | null;
}

/** `ANY required (members)`. */
export interface CountedSet {
  readonly required: number;
  readonly members: readonly NodeId[];
}

interface Goal extends CountedSet {
  readonly isDegraded: boolean;
}

/**
 * The next safe step towards what a policy wants. What makes a step safe: an acknowledged commit is on `required` of the
 * active members, so on at least as many of the recorded ones, less those that are active and not recorded; and the record
 * never requires more than that.
 *
 * - PostgreSQL may take any set that leaves the record true ({@link isTrue}); else the record grows first.
 * - The record may require fewer, or list more, at any time. It requires more, or lists fewer, only once enough of those that
 *   it then lists have passed what was acknowledged under anything else.
 * - An empty record lets only the leader be elected, which has everything.
 *
 * So fewer are waited for only after that is recorded, and more are recorded only after they are waited for.
 */
export function decidePolicyStep(view: PolicyView): SyncSetStep {
  const { active, policy } = view;
  const wasDegraded = view.recorded.isDegraded === true;
  const recorded: Goal = { ...view.recorded, isDegraded: wasDegraded };
  if (view.isToBeAlone) return standAlone(view, { ...recorded, isDegraded: false }, 'no other node is left');
  const goal = goalOf(view);
  if (goal === null) return { kind: 'keep' };
  if (goal.isDegraded && !wasDegraded) {
    const required = Math.min(recorded.required, Math.max(1, goal.required));
    return {
      kind: 'record',
      members: goal.required === 0 ? [] : recorded.members,
      required,
      isDegraded: true,
      reason: `only ${goal.members.join(', ') || 'nobody'} confirmed within ${policy.degradeAfterMs} ms`,
    };
  }
  if (wasDegraded && policy.degradeAfterMs === null)
    return recordOf({ ...recorded, isDegraded: false }, 'the policy is strict');
  if (goal.required === 0) return standAlone(view, { ...recorded, isDegraded: true }, 'nobody confirms');
  if (recorded.members.length > 0 && recorded.required > goal.required)
    return recordOf({ ...recorded, required: goal.required }, describe(goal));
  if (!isSameSet(active, goal)) return activateOrList(view, goal);
  return recordActive(view, goal);
}

/**
 * The other nodes that commits may wait for: those that may lead and stay. By a policy a cascading node is not counted, which the leader
 * does not hear of while it follows another, nor one that has no data yet.
 */
export function countedOthers(
  nodes: readonly CountableNode[],
  self: NodeId,
  policy: SyncPolicy | undefined,
): readonly NodeId[] {
  return nodes
    .filter((node) => mayLead(node) && node.isLeaving !== true && node.name !== self)
    .filter(
      ({ name, from }) =>
        policy === undefined || (from === undefined && policy.joining?.includes(name) !== true),
    )
    .map(({ name }) => name);
}

interface CountableNode {
  readonly name: NodeId;
  readonly failoverPriority: number;
  readonly from?: NodeId | undefined;
  readonly isLeaving?: boolean;
}

/** Null where nobody could be waited for: then all stays as it is. */
function goalOf(view: PolicyView): Goal | null {
  const { policy, candidates, onTime } = view;
  if (candidates.length === 0) return null;
  const required = policy.followers === 'all' ? candidates.length : policy.followers;
  const confirming = candidates.filter((name) => onTime.includes(name)).toSorted();
  if (policy.degradeAfterMs !== null && confirming.length < required)
    return { required: confirming.length, members: confirming, isDegraded: true };
  const members = policy.followers === 'all' ? candidates : chooseMembers(view, required);
  return { required, members: members.toSorted(), isDegraded: false };
}

/** Those that stream; when too few do, whoever was waited for; and where that were too few for the policy, others too. */
function chooseMembers(view: PolicyView, required: number): readonly NodeId[] {
  const { candidates, active, recorded } = view;
  const alive = new Set([...streaming(view), ...view.recentlyStreaming]);
  const isAlive = (name: NodeId): boolean => alive.has(name);
  if (candidates.filter(isAlive).length >= required) return candidates.filter(isAlive);
  const waitedFor = candidates.filter((name) => active.members.includes(name));
  if (waitedFor.length >= required) return waitedFor;
  const listed = candidates.filter((name) => recorded.members.includes(name));
  return [...new Set([...listed, ...candidates.filter(isAlive), ...candidates])].slice(0, required);
}

function activateOrList({ recorded }: PolicyView, goal: Goal): SyncSetStep {
  if (recorded.members.length === 0 || isTrue(recorded, goal))
    return { kind: 'activate', members: goal.members, required: goal.required, reason: describe(goal) };
  const added = goal.members.filter((name) => !recorded.members.includes(name));
  const members = [...recorded.members, ...added].toSorted();
  return recordOf(
    { ...recorded, members, isDegraded: recorded.isDegraded === true },
    `${added.join(', ')} caught up`,
  );
}

/** PostgreSQL goes by the goal: the record follows as far as that is true of what was acknowledged before, too. */
function recordActive(view: PolicyView, goal: Goal): SyncSetStep {
  const { recorded, barrierLsn } = view;
  const isDegraded = recorded.isDegraded === true;
  const isReached = recorded.members.length > 0 && isSameSet(recorded, goal);
  if (isReached && isDegraded === goal.isDegraded) return { kind: 'keep' };
  if (barrierLsn === null) return { kind: 'keep' };
  const passed = view.followers
    .filter(
      ({ name, flushLsn }) => goal.members.includes(name) && flushLsn !== null && flushLsn >= barrierLsn,
    )
    .map(({ name }) => name)
    .toSorted();
  if (passed.length >= goal.required) return recordOf(goal, 'they hold all that was acknowledged');
  // Those that are there can be elected meanwhile: what all of the goal confirm, they have.
  const required = Math.min(passed.length, goal.required - (goal.members.length - passed.length));
  const hasSurplus = recorded.members.some((name) => !goal.members.includes(name));
  const isMore =
    passed.length > recorded.members.length && recorded.members.every((name) => passed.includes(name));
  if (required < 1 || (!hasSurplus && !isMore)) return { kind: 'keep' };
  return recordOf(
    { required, members: passed, isDegraded },
    `${passed.join(', ')} hold all that was acknowledged`,
  );
}

/** Only the leader may be elected, and that is recorded before its commits wait for nobody. */
function standAlone(view: PolicyView, record: Goal, reason: string): SyncSetStep {
  if (view.recorded.members.length > 0) return recordOf({ ...record, members: [] }, reason);
  return view.active.members.length > 0
    ? { kind: 'activate', members: [], required: 0, reason }
    : { kind: 'keep' };
}

/** Whether what a commit is acknowledged by bears out the record. */
function isTrue(recorded: SyncSet, { required, members }: CountedSet): boolean {
  const unlisted = members.filter((name) => !recorded.members.includes(name)).length;
  return required - unlisted >= recorded.required;
}

function recordOf({ required, members, isDegraded }: Goal, reason: string): SyncSetStep {
  return { kind: 'record', members, required, isDegraded, reason };
}

function isSameSet(a: CountedSet, b: CountedSet): boolean {
  return a.required === b.required && a.members.toSorted().join() === b.members.toSorted().join();
}

function describe({ required, members, isDegraded }: Goal): string {
  const who = `${required} of ${members.join(', ')}`;
  return isDegraded ? `${who}, who keep up` : `the policy says ${who}`;
}

function streaming({ followers }: PolicyView): readonly NodeId[] {
  return followers.filter(({ isStreaming }) => isStreaming).map(({ name }) => name);
}

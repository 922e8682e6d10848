import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isAsyncLevel } from '../../src/cli/policy/policy-command.ts';
import { electionQuorum } from '../../src/leader-follower/core/cluster-state.ts';
import type { SyncPolicy, SyncSet } from '../../src/leader-follower/core/cluster-state.ts';
import { countedOthers, decidePolicyStep } from '../../src/leader-follower/core/sync-policy.ts';
import type { CountedSet, PolicyView } from '../../src/leader-follower/core/sync-policy.ts';
import { syncSetForElection } from '../../src/leader-follower/core/sync-set.ts';
import type { SyncSetStep } from '../../src/leader-follower/core/sync-set.ts';
import { beginPace, observePace } from '../../src/leader-follower/duties/core/pace.ts';
import type { Pace } from '../../src/leader-follower/duties/core/pace.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'].map(parseNodeId) as [NodeId, NodeId, NodeId, NodeId];
const STRICT_SYNC: SyncPolicy = { followers: 'all', degradeAfterMs: null };
const BARRIER = 100n as Lsn;

/** All of n2 and n3 stream and have everything, and two are waited for, where nothing else is said. */
function view(changes: Partial<PolicyView>): PolicyView {
  const candidates = changes.candidates ?? [n2, n3];
  return {
    policy: STRICT_SYNC,
    recorded: { required: 2, members: [n2, n3] },
    active: { required: 2, members: [n2, n3] },
    candidates,
    followers: candidates.map((name) => ({ name, isStreaming: true, flushLsn: BARRIER })),
    recentlyStreaming: [],
    onTime: candidates,
    isToBeAlone: false,
    barrierLsn: BARRIER,
    ...changes,
  };
}

function streaming(...names: readonly NodeId[]): PolicyView['followers'] {
  return names.map((name) => ({ name, isStreaming: true, flushLsn: BARRIER }));
}

/** Steps until nothing is left to do, with PostgreSQL and the record as they become. */
function walk(begin: PolicyView): { readonly steps: readonly SyncSetStep[]; readonly end: PolicyView } {
  const steps: SyncSetStep[] = [];
  let now = begin;
  for (let count = 0; count < 20; count++) {
    const step = decidePolicyStep(now);
    if (step.kind === 'keep') return { steps, end: now };
    steps.push(step);
    now = { ...now, ...after(now, step) };
  }
  throw new Error(`no end: ${JSON.stringify(steps.slice(-4))}`);
}

function after(
  now: { readonly recorded: SyncSet },
  step: SyncSetStep,
): Partial<Pick<PolicyView, 'recorded' | 'active'>> {
  if (step.kind === 'keep') return {};
  const { members, required = now.recorded.required } = step;
  if (step.kind === 'activate') return { active: { required, members } };
  return { recorded: { required, members, ...(step.isDegraded === true ? { isDegraded: true } : {}) } };
}

describe('a policy', () => {
  it('is kept to where it is reached', () => {
    expect(decidePolicyStep(view({}))).toEqual({ kind: 'keep' });
  });

  it('raises what PostgreSQL waits for, and the record once so many have everything', () => {
    const begin = view({
      recorded: { required: 1, members: [n2, n3] },
      active: { required: 1, members: [n2, n3] },
    });
    const first = decidePolicyStep({ ...begin, barrierLsn: null });
    expect(first).toMatchObject({ kind: 'activate', required: 2, members: [n2, n3] });
    const waiting = { ...begin, active: { required: 2, members: [n2, n3] } };
    expect(decidePolicyStep({ ...waiting, barrierLsn: null })).toEqual({ kind: 'keep' });
    expect(decidePolicyStep({ ...waiting, barrierLsn: 101n as Lsn })).toEqual({ kind: 'keep' });
    expect(decidePolicyStep(waiting)).toMatchObject({ kind: 'record', required: 2, members: [n2, n3] });
  });

  it('does not count a cascading node, which the leader never hears of, nor one without data', () => {
    const nodes = [n1, n2, n3].map((name) => ({
      name,
      failoverPriority: 1,
      from: name === n3 ? n2 : undefined,
    }));
    expect(countedOthers(nodes, n1, STRICT_SYNC)).toEqual([n2]);
    expect(countedOthers(nodes, n1, { ...STRICT_SYNC, joining: [n2] })).toEqual([]);
    // As ever where nobody set one.
    expect(countedOthers(nodes, n1, undefined)).toEqual([n2, n3]);
    const { end } = walk(
      view({ candidates: countedOthers(nodes, n1, STRICT_SYNC), recorded: { required: 1, members: [n2] } }),
    );
    expect(end.active).toEqual({ required: 1, members: [n2] });
  });

  it('counts a follower that is away when it is set', () => {
    const away = view({
      recorded: { required: 1, members: [n2] },
      active: { required: 1, members: [n2] },
      followers: streaming(n2),
    });
    const sync = walk(away);
    expect(sync.end.active).toEqual({ required: 2, members: [n2, n3] });
    // A failover needs nobody who is away, and finds all that is acknowledged from now on.
    expect(sync.end.recorded).toMatchObject({ required: 1, members: [n2] });
    expect(walk({ ...away, policy: { followers: 2, degradeAfterMs: null } }).end.active).toEqual(
      sync.end.active,
    );
    const back = walk({ ...sync.end, followers: streaming(n2, n3) });
    expect(back.end.recorded).toMatchObject({ required: 2, members: [n2, n3] });
  });

  it('lets a node be removed where commits wait for all', () => {
    const { steps, end } = walk(view({ candidates: [n2] }));
    expect(steps[0]).toMatchObject({ kind: 'record', required: 1, members: [n2, n3] });
    expect(end.active).toEqual({ required: 1, members: [n2] });
    expect(end.recorded).toMatchObject({ required: 1, members: [n2] });
    const alone = walk(view({ candidates: [], isToBeAlone: true })).end;
    expect([alone.recorded.members, alone.active.members]).toEqual([[], []]);
  });

  it('waits for fewer, by a change, before it degrades', () => {
    const stuck = view({
      followers: streaming(n2),
      onTime: [n2],
      policy: { followers: 1, degradeAfterMs: 1_000 },
    });
    const { steps, end } = walk(stuck);
    expect(steps[0]).toMatchObject({ kind: 'record', required: 1, isDegraded: false });
    expect(steps.some((step) => step.kind === 'record' && step.isDegraded === true)).toBe(false);
    expect(end.active).toEqual({ required: 1, members: [n2] });
  });

  it('records that it degrades, then waits for those who confirm, and for all again', () => {
    const policy: SyncPolicy = { followers: 'all', degradeAfterMs: 1_000 };
    const { steps, end } = walk(view({ policy, onTime: [n2] }));
    expect(steps[0]).toMatchObject({ kind: 'record', required: 1, members: [n2, n3], isDegraded: true });
    expect(steps[1]).toMatchObject({ kind: 'activate', required: 1, members: [n2] });
    expect(end.recorded).toEqual({ required: 1, members: [n2], isDegraded: true });
    const back = walk({ ...end, onTime: [n2, n3] });
    expect(back.end.recorded).toEqual({ required: 2, members: [n2, n3] });
  });

  it('lets only the leader be elected before its commits wait for nobody', () => {
    const policy: SyncPolicy = { followers: 1, degradeAfterMs: 1_000 };
    const { steps, end } = walk(view({ policy, onTime: [], recorded: { required: 1, members: [n2, n3] } }));
    expect(steps.map(({ kind }) => kind)).toEqual(['record', 'activate']);
    expect(end.recorded).toEqual({ required: 1, members: [], isDegraded: true });
    expect(walk({ ...end, onTime: [n3] }).end.recorded).toEqual({ required: 1, members: [n2, n3] });
  });

  it('waits again when it is made strict while it is degraded', () => {
    const degraded = view({
      recorded: { required: 2, members: [], isDegraded: true },
      active: { required: 0, members: [] },
      followers: [],
    });
    const { steps, end } = walk(degraded);
    expect(steps[0]).toMatchObject({ kind: 'record', members: [], isDegraded: false });
    expect(end.active).toEqual({ required: 2, members: [n2, n3] });
    expect(walk({ ...end, followers: streaming(n2, n3) }).end.recorded).toEqual({
      required: 2,
      members: [n2, n3],
    });
  });

  it('outlives an election, degraded or not', () => {
    const recorded = syncSetForElection({ required: 1, members: [n2], isDegraded: true }, n2, [n1, n3]);
    expect(recorded).toEqual({ required: 1, members: [n1, n2, n3], isDegraded: true });
  });

  it.each([
    ['off', true],
    ['local', true],
    ['on', false],
    ['remote_write', false],
    [undefined, false],
  ])('reads synchronous_commit = %s as asynchronous: %s', (level, isAsync) => {
    expect(isAsyncLevel(level)).toBe(isAsync);
  });
});

describe('the pace of a follower', () => {
  const follow = (pace: Pace, atMs: number, leader: bigint, flushed: bigint | null): Pace =>
    observePace(
      pace,
      leader as Lsn,
      flushed === null ? undefined : { name: n2, isStreaming: true, flushLsn: flushed as Lsn },
      1_000,
      atMs,
    );

  it('is late when it has not confirmed for so long, and stays so while it hangs', () => {
    let pace = follow(beginPace(true), 0, 10n, 10n);
    pace = follow(pace, 100, 20n, 10n);
    pace = follow(pace, 1_099, 30n, 10n);
    expect(pace.isOnTime).toBe(true);
    pace = follow(pace, 1_100, 30n, 10n);
    expect(pace.isOnTime).toBe(false);
    expect(follow(pace, 60_000, 30n, 10n).isOnTime).toBe(false);
  });

  it('is late when it is gone, and on time again after it kept up for a while', () => {
    let pace = follow(beginPace(true), 0, 10n, null);
    pace = follow(pace, 1_000, 10n, null);
    expect(pace.isOnTime).toBe(false);
    pace = follow(pace, 2_000, 20n, 20n);
    expect(pace.isOnTime).toBe(false);
    expect(follow(pace, 3_000, 30n, 30n).isOnTime).toBe(true);
  });

  it('is on time where it confirms late but within the time', () => {
    let pace = beginPace(true);
    for (let atMs = 0; atMs < 20_000; atMs += 100)
      pace = follow(pace, atMs, BigInt(atMs), BigInt(Math.max(0, atMs - 800)));
    expect(pace.isOnTime).toBe(true);
  });
});

type Decide = (view: PolicyView) => SyncSetStep;
const all = [n2, n3, n4];

/** A leader that commits by a policy that changes, and what its followers have of that. */
class Model {
  recorded: SyncSet = { required: 1, members: [] };
  active: CountedSet = { required: 0, members: [] };
  policy: SyncPolicy = { followers: 1, degradeAfterMs: null };
  candidates: readonly NodeId[] = all;
  barrier = 0;
  end = 0;
  degradations = 0;
  readonly acknowledged: number[] = [];
  readonly has = new Map<NodeId, number>(all.map((name) => [name, 0]));
  readonly #decide: Decide;

  constructor(decide: Decide) {
    this.#decide = decide;
  }

  commit(receivers: readonly NodeId[]): void {
    this.end += 1;
    for (const name of receivers) this.has.set(name, this.end);
    const holders = this.active.members.filter((name) => this.has.get(name) === this.end);
    if (holders.length >= this.active.required) this.acknowledged.push(this.end);
  }

  keep(connected: readonly NodeId[], onTime: readonly NodeId[]): void {
    const step = this.#decide({
      policy: this.policy,
      recorded: this.recorded,
      active: this.active,
      candidates: this.candidates,
      followers: connected
        .filter((name) => this.candidates.includes(name))
        .map((name) => ({ name, isStreaming: true, flushLsn: BigInt(this.has.get(name) ?? 0) as Lsn })),
      recentlyStreaming: [],
      onTime,
      isToBeAlone: this.candidates.length === 0,
      barrierLsn: BigInt(this.barrier) as Lsn,
    });
    const { recorded = this.recorded, active = this.active } = after(this, step);
    if (recorded.isDegraded === true && this.recorded.isDegraded !== true) this.degradations += 1;
    if (step.kind === 'activate') this.barrier = this.end;
    this.recorded = recorded;
    this.active = active;
  }

  /** Whoever hears as many members as an election needs hears every acknowledged commit. */
  isSafe(): boolean {
    const { members } = this.recorded;
    // An empty record lets only the leader be elected, which has everything.
    if (members.length === 0) return true;
    const quorum = electionQuorum(this.recorded);
    return this.acknowledged.every(
      (commit) => members.filter((name) => (this.has.get(name) ?? 0) < commit).length < quorum,
    );
  }
}

const event = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('commit' as const), names: fc.subarray(all) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('keep' as const),
      names: fc.subarray(all),
      onTime: fc.subarray(all),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('policy' as const),
      followers: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constant('all' as const)),
      degradeAfterMs: fc.constantFrom(null, 1_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('nodes' as const), names: fc.subarray(all) }) },
);

type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

function run(events: readonly Event[], decide: Decide): Model | null {
  const model = new Model(decide);
  for (const one of events) {
    if (one.kind === 'commit') model.commit(one.names);
    else if (one.kind === 'policy')
      model.policy = { followers: one.followers, degradeAfterMs: one.degradeAfterMs };
    else if (one.kind === 'nodes') model.candidates = one.names;
    else model.keep(one.names, model.policy.degradeAfterMs === null ? all : one.onTime);
    if (!model.isSafe()) return null;
  }
  return model;
}

describe('whatever happens', () => {
  const events = fc.array(event, { minLength: 5, maxLength: 60 });

  it('an election finds every acknowledged commit', () => {
    let degradations = 0;
    fc.assert(
      fc.property(events, (happened) => {
        const model = run(happened, decidePolicyStep);
        degradations += model?.degradations ?? 0;
        return model !== null;
      }),
      { numRuns: 3_000 },
    );
    expect(degradations).toBeGreaterThan(100);
  });

  it('a policy that is left alone is reached once all followers are there', () => {
    fc.assert(
      fc.property(events, fc.constantFrom<SyncPolicy['followers']>(1, 2, 3, 'all'), (happened, followers) => {
        const model = run(happened, decidePolicyStep);
        if (model === null) return false;
        model.policy = { followers, degradeAfterMs: null };
        model.candidates = all;
        for (let count = 0; count < 12; count++) {
          model.commit(all);
          model.keep(all, all);
        }
        const required = followers === 'all' ? 3 : followers;
        expect(model.recorded).toEqual({ required, members: all });
        expect(model.active).toEqual({ required, members: all });
      }),
      { numRuns: 1_000 },
    );
  });

  const broken: readonly (readonly [string, Decide])[] = [
    [
      'it stops to wait before that is recorded',
      (seen) => {
        const step = decidePolicyStep(seen);
        const isFirst =
          step.kind === 'record' && step.isDegraded === true && seen.recorded.isDegraded !== true;
        return isFirst ? { kind: 'activate', members: [], required: 0, reason: '' } : step;
      },
    ],
    [
      'it records more at once',
      (seen) => {
        const step = decidePolicyStep(seen);
        const isRaise = step.kind === 'activate' && (step.required ?? 0) > seen.recorded.required;
        return isRaise ? { ...step, kind: 'record' } : step;
      },
    ],
    ['it minds no barrier', (seen) => decidePolicyStep({ ...seen, barrierLsn: 0n as Lsn })],
    [
      'it waits for whoever is not recorded',
      (seen) => {
        const step = decidePolicyStep(seen);
        const listed = seen.recorded.members.length;
        const isListing = step.kind === 'record' && listed > 0 && step.members.length > listed;
        return isListing ? { kind: 'activate', members: step.members, required: 1, reason: '' } : step;
      },
    ],
  ];

  it.each(broken)('it would be noticed if %s', (_name, decide) => {
    const found = fc.check(
      fc.property(events, (happened) => run(happened, decide) !== null),
      { numRuns: 5_000 },
    );
    expect(found.failed).toBe(true);
  });
});

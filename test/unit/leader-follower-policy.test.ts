import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideSyncSet,
  formatSynchronousStandbyNames,
  parseRequired,
} from '../../src/leader-follower/core/sync-set.ts';
import type { SyncSetStep, SyncSetView } from '../../src/leader-follower/core/sync-set.ts';
import type { SyncSet } from '../../src/leader-follower/core/cluster-state.ts';
import { electionQuorum } from '../../src/leader-follower/core/cluster-state.ts';
import { confirmedLsn, observeWaiting } from '../../src/leader-follower/duties/core/confirmations.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';

const leader = parseNodeId('n1');
const all = ['n2', 'n3', 'n4'].map(parseNodeId);

type Decide = (view: SyncSetView) => SyncSetStep;

/** A leader that commits by a policy that changes, and what its followers have of that. */
class Model {
  recorded: SyncSet = { required: 1, members: [] };
  active: readonly NodeId[] = [];
  activeRequired = 0;
  wanted = 1;
  degradations = 0;
  barrier = 0;
  end = 0;
  readonly acknowledged: number[] = [];
  readonly has = new Map<NodeId, number>(all.map((name) => [name, 0]));
  readonly #decide: Decide;

  constructor(decide: Decide) {
    this.#decide = decide;
  }

  commit(receivers: readonly NodeId[]): void {
    this.end += 1;
    for (const name of receivers) this.has.set(name, this.end);
    const holders = this.active.filter((name) => this.has.get(name) === this.end);
    if (this.active.length === 0 || holders.length >= this.activeRequired) this.acknowledged.push(this.end);
  }

  keep(streaming: readonly NodeId[], isToDegrade: boolean): void {
    const names = formatSynchronousStandbyNames(this.activeRequired, this.active);
    const step = this.#decide({
      self: leader,
      recorded: this.recorded,
      active: this.active,
      activeRequired: parseRequired(names),
      wantedRequired: this.wanted,
      isToBeAlone: false,
      isToDegrade: isToDegrade && this.recorded.members.length > 0,
      followers: all.map((name) => ({
        name,
        isStreaming: streaming.includes(name),
        flushLsn: BigInt(this.has.get(name) ?? 0) as Lsn,
      })),
      recentlyStreaming: [],
      barrierLsn: BigInt(this.barrier) as Lsn,
    });
    if (step.kind === 'record') {
      const required = step.required ?? this.recorded.required;
      if (step.isDegraded === true && this.recorded.isDegraded !== true) this.degradations += 1;
      this.recorded = {
        required,
        members: step.members,
        ...(step.isDegraded === true ? { isDegraded: true } : {}),
      };
    } else if (step.kind === 'activate') {
      this.active = step.members;
      this.activeRequired = step.members.length === 0 ? 0 : (step.required ?? this.recorded.required);
      this.barrier = this.end;
    }
  }

  /** Whoever hears as many members as an election needs hears every acknowledged commit. */
  isSafe(): boolean {
    const { members } = this.recorded;
    // An empty record lets only the leader be elected, which has everything.
    if (members.length === 0) return true;
    const quorum = electionQuorum(this.recorded);
    return this.acknowledged.every((commit) => {
      const without = members.filter((name) => name !== leader && (this.has.get(name) ?? 0) < commit);
      return without.length < quorum;
    });
  }
}

const event = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      names: fc.subarray(all),
      count: fc.constant(1),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('keep' as const),
      names: fc.subarray(all),
      count: fc.constant(1),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('degrade' as const),
      names: fc.subarray(all),
      count: fc.constant(1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('policy' as const),
      names: fc.constant<NodeId[]>([]),
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
);

interface Seen {
  raised: number;
  lowered: number;
  degraded: number;
}

function run(decide: Decide, numRuns: number): Seen {
  const seen: Seen = { raised: 0, lowered: 0, degraded: 0 };
  fc.assert(
    fc.property(fc.array(event, { minLength: 15, maxLength: 80 }), (events) => {
      const model = new Model(decide);
      for (const { kind, names, count } of events) {
        const before = model.recorded.required;
        if (kind === 'commit') model.commit(names);
        else if (kind === 'policy') model.wanted = count;
        else model.keep(names, kind === 'degrade');
        expect(model.isSafe()).toBe(true);
        if (model.recorded.required > before) seen.raised += 1;
        if (model.recorded.required < before) seen.lowered += 1;
      }
      seen.degraded += model.degradations;
    }),
    { numRuns },
  );
  return seen;
}

describe('a policy that changes while commits go on', () => {
  it('never lets an election miss an acknowledged commit', () => {
    const { raised, lowered, degraded } = run(decideSyncSet, 2_000);
    // It tells nothing where nothing happens.
    expect(Math.min(raised, lowered, degraded)).toBeGreaterThan(100);
  });

  it.each<[string, Decide]>([
    [
      'records a higher number before that many have everything',
      (view) => {
        const { recorded, wantedRequired = 1 } = view;
        return recorded.members.length >= wantedRequired && wantedRequired > recorded.required
          ? { kind: 'record', members: recorded.members, required: wantedRequired, reason: '' }
          : decideSyncSet(view);
      },
    ],
    [
      'lets commits go on before it is recorded that only the leader has them',
      (view) =>
        view.isToDegrade === true
          ? { kind: 'activate', members: [], reason: '' }
          : decideSyncSet({ ...view, isToDegrade: false }),
    ],
    [
      'waits for fewer before that is recorded',
      (view) => {
        const { recorded, active, wantedRequired = 1, activeRequired = 1 } = view;
        return active.length > 0 && wantedRequired < activeRequired && recorded.required > wantedRequired
          ? { kind: 'activate', members: active, required: wantedRequired, reason: '' }
          : decideSyncSet({ ...view, wantedRequired: Math.max(wantedRequired, recorded.required) });
      },
    ],
  ])('is noticed when it %s', (_, mutant) => {
    expect(() => run(mutant, 3_000)).toThrow();
  });
});

describe('how long commits have waited', () => {
  const follower = (flush: bigint | null): { name: NodeId; isStreaming: boolean; flushLsn: Lsn | null } => ({
    name: leader,
    isStreaming: true,
    flushLsn: flush as Lsn | null,
  });

  it('is told by as many as are needed', () => {
    const three = [follower(5n), follower(9n), follower(null)];
    expect(confirmedLsn(three, 1)).toBe(9n);
    expect(confirmedLsn(three, 2)).toBe(5n);
    expect(confirmedLsn(three, 3)).toBeNull();
  });

  it('begins with the first position that nobody confirms, and ends when it is', () => {
    let waiting = observeWaiting(null, 10n as Lsn, 10n as Lsn, 1_000);
    expect(waiting).toBeNull();
    waiting = observeWaiting(waiting, 20n as Lsn, 10n as Lsn, 2_000);
    waiting = observeWaiting(waiting, 30n as Lsn, 10n as Lsn, 5_000);
    expect(waiting).toEqual({ lsn: 20n, sinceMs: 2_000 });
    // It goes on confirming: it only lags.
    waiting = observeWaiting(waiting, 40n as Lsn, 25n as Lsn, 6_000);
    expect(waiting).toEqual({ lsn: 40n, sinceMs: 6_000 });
    expect(observeWaiting(waiting, 40n as Lsn, 40n as Lsn, 7_000)).toBeNull();
    expect(observeWaiting(null, 40n as Lsn, null, 8_000)).toEqual({ lsn: 40n, sinceMs: 8_000 });
  });
});

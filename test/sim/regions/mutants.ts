import { compareVersions } from '../../../src/multi-leader/core/version.ts';
import { rowId } from '../../../src/multi-leader/core/change.ts';
import type { Change } from '../../../src/multi-leader/core/change.ts';
import { applyOperation, replay } from '../../../src/multi-leader/core/merge.ts';
import { refereeByPriority } from '../../../src/multi-leader/core/referee-rule.ts';
import { resolveRow } from '../../../src/multi-leader/core/resolve-rule.ts';
import type { ResolvedRow } from '../../../src/multi-leader/core/resolve-rule.ts';
import type { Setup } from './run.ts';
import { UNIQUE, TRUNCATES, FAMILIES, RESOLVER, PRIORITY, JOINS } from './setups.ts';

interface Mutant extends Setup {
  readonly what: string;
  /** How many seeds are tried, and from which on, where few show it. */
  readonly seeds?: number;
  readonly firstSeed?: number;
}

/** Each breaks one rule, and some seed must show it. */
export const MUTANTS: Readonly<Record<string, Mutant>> = {
  M01: {
    what: 'an old image that equals the row here decides',
    valueCount: 2,
    rules: { decidesByValue: true },
  },
  M02: {
    what: 'the same, and no clock is waited for',
    hasDeletes: false,
    rules: { decidesByValue: true, clockLack: () => 0 },
  },
  M03: { what: 'no clock is waited for', hasDeletes: false, rules: { clockLack: () => 0 } },
  M04: {
    what: 'a clock that stands at the version is past it',
    hasDeletes: false,
    hasEqualTimes: true,
    rules: { clockLack: (now, highest) => Math.max(0, highest - now) },
    seeds: 8_000,
  },
  M05: {
    what: 'a batch notes its highest version for all rows',
    rules: { versionInRecord: 'highest-of-batch' },
  },
  M06: {
    what: 'a batch notes its lowest version for all rows',
    rules: { versionInRecord: 'lowest-of-batch' },
  },
  M49: {
    what: "a row's version is read from whichever batch has noted one",
    rules: { noteOf: ([first]) => first?.version ?? null },
  },
  M07: { what: "a batch is stamped with the session's last commit time", rules: { stamp: 'stale' } },
  M11: {
    what: 'there are no tombstones',
    rules: { writesTombstones: false, ownReaderWritesTombstones: false },
  },
  M12: { what: 'a delete made here leaves no tombstone', rules: { ownReaderWritesTombstones: false } },
  M13: {
    what: 'an insert does not wait for the own reader',
    rules: { missing: 'insert-without-wait' },
  },
  M14: { what: 'tombstones are read before the insert', rules: { missing: 'check-then-insert' } },
  M15: {
    what: 'a row is not looked at before its tombstone is forgotten',
    rules: { probesBeforePruning: false },
    seeds: 4_000,
  },
  M17: {
    what: 'the same, with the clock checked before the commit',
    rules: { clockIsChecked: 'before-commit', probesBeforePruning: false },
  },
  M18: {
    what: 'the last applied time is taken for a promise',
    regions: 2,
    keys: 1,
    transactions: 8,
    rules: { promise: 'last-applied-time' },
    seeds: 4_000,
  },
  M19: { what: 'a promise does not wait for running transactions', rules: { promise: 'at-once' } },
  M20: { what: "only the origin's own promise bounds pruning", rules: { prunesBy: 'origin-only' } },
  M21: {
    what: 'unchanged columns stored out of line stay as they are here',
    hasDeletes: false,
    rules: { keepsUnchangedColumns: true },
  },
  M22: { what: 'a clock that stepped back is not mended', clockSteps: 2, mayGoBack: true },
  M34: {
    what: 'appliers meet on a key, and rows are not looked at before pruning',
    rules: { oneApplierPerKey: false, probesBeforePruning: false },
  },
  M35: {
    what: 'before pruning only rows of a known version are looked at',
    rules: {
      oneApplierPerKey: false,
      judgeTombstone: (tombstone, row, lowestUs) =>
        tombstone.timeUs >= lowestUs
          ? 'keep'
          : row.kind === 'present' && row.record !== null && compareVersions(row.record, tombstone) < 0
            ? 'delete-row'
            : 'forget',
    },
  },
  M37: {
    what: "only own commits count as the region's past",
    clockSteps: 2,
    mayGoBack: true,
    rules: { rewritesBehindItself: 'own-commits' },
    seeds: 4_000,
  },
  M39: { what: 'a delete removes whatever is here', rules: { deletesBlindly: true } },
  M43: {
    what: 'merging does not wait for the own reader',
    mode: 'merge',
    rules: { mergeWaitsForOwnReader: false },
  },
  M44: {
    what: 'operations are merged in the order of arrival',
    mode: 'merge',
    rules: { mergesInOrder: false },
  },
  M48: {
    what: 'a journal is folded up to the newest promise, not the lowest',
    mode: 'merge',
    rules: {
      lowestPromise: (regions, promised) => Math.max(...regions.map((region) => promised.get(region) ?? -1)),
    },
  },
  T1: { what: 'a truncate removes whatever is here', ...TRUNCATES, rules: { deletesBlindly: true } },
  T2: { what: 'a truncate leaves no tombstone', ...TRUNCATES, rules: { truncateLeavesTombstone: false } },
  T3: {
    what: "rows are not looked at before a truncate's tombstone is forgotten",
    ...TRUNCATES,
    rules: { probesTable: false },
    seeds: 8_000,
  },
  U1: {
    what: 'a row whose unique value a later one holds is dropped',
    ...UNIQUE,
    rules: { whoLoses: 'is-dropped' },
  },
  U2: { what: 'a row whose unique value is taken is refused', ...UNIQUE, rules: { whoLoses: 'is-refused' } },
  U3: { what: 'a row that is aside stays there', ...UNIQUE, rules: { bringsBack: false } },
  U4: {
    what: 'a row that is aside lets older changes of its key in',
    ...UNIQUE,
    rules: { asideCounts: false },
  },
  U5: {
    what: 'a row comes back in the transaction that judges tombstones, without a commit time',
    ...UNIQUE,
    rules: { bringsBackApart: false },
  },
  U6: {
    what: 'versions of rows with unique values are forgotten',
    ...UNIQUE,
    rules: { keepsRecordsOfUnique: false },
  },
  U7: {
    what: 'a row that is aside is tried again although its key was deleted',
    ...UNIQUE,
    rules: { judgeAside: () => 'try' },
  },
  U8: {
    what: 'the first row keeps a unique value',
    ...UNIQUE,
    rules: { mayTakeValues: (_, holders) => holders.length === 0 },
  },
  U9: {
    what: 'only the latest of the rows that are aside is looked at before tombstones are forgotten',
    ...UNIQUE,
    rules: { looksAtAllAside: false },
  },
  F1: {
    what: 'a row without its parent is deleted at once, while the parent is on its way',
    ...FAMILIES,
    orphanRule: 'delete-orphan',
    rules: { judgeOrphan: ({ hasParent }) => (hasParent ? 'over' : 'act') },
  },
  F2: {
    what: 'nobody looks at rows without their parent',
    ...FAMILIES,
    rules: { judgeOrphan: () => 'wait' },
  },
  F3: { what: 'a deleted parent is kept without what it held', ...FAMILIES, rules: { keepsImages: false } },
  F4: {
    what: 'a batch does not hold the parents of its rows',
    ...FAMILIES,
    rules: { locksParents: false },
    firstSeed: 1_200,
  },
  E1: { what: 'what is given is not taken off', isEscrow: true, escrow: { takesOff: false } },
  E2: {
    what: 'a part is added, and where the log was read in another transaction',
    isEscrow: true,
    escrow: { receives: 'before-position' },
  },
  E3: {
    what: 'where the log was read is moved before a part is added',
    isEscrow: true,
    escrow: { receives: 'after-position' },
  },
  E4: {
    what: 'what is given may be sold meanwhile',
    isEscrow: true,
    escrow: { looksWhenItGives: false },
  },
  E5: { what: 'nobody gives', isEscrow: true, escrow: { decideGrants: () => [] } },
  E6: {
    what: 'a region gives all that it has',
    isEscrow: true,
    escrow: {
      decideGrants: (held, min, [other]) =>
        other === undefined || held <= min ? [] : [{ to: other.region, amount: held - min }],
    },
  },
  V1: { what: 'what a resolver decided is not written', ...RESOLVER, rules: { resolveRow: decideNothing } },
  V2: {
    what: 'each conflict is decided by the last writes, and not by the answer before',
    ...RESOLVER,
    rules: { resolveRow: forgetAnswers },
  },
  V3: {
    what: 'what was decided is written over what was written meanwhile',
    ...RESOLVER,
    rules: {
      resolveRow: (base, operations, rules) =>
        resolveRow(base, operations, rules, replay(base, operations, rules)),
    },
  },
  V4: {
    what: 'every region asks its resolver',
    ...RESOLVER,
    resolver: 'grows',
    rules: { isReferee: () => true },
  },
  V5: { what: 'no region asks its resolver', ...RESOLVER, rules: { isReferee: () => false } },
  V6: {
    what: 'an answer replaces what counters add up to',
    ...RESOLVER,
    rules: {
      resolveRow: (base, operations, rules, here) =>
        resolveRow(
          base,
          operations,
          rules.map(() => 'last' as const),
          here,
        ),
    },
  },
  P1: {
    what: "the last region's write stays, not the first one's",
    ...PRIORITY,
    rules: {
      refereeByPriority: (start, operations, rules, priorities, writersOf) =>
        refereeByPriority(
          start,
          operations,
          rules,
          priorities.map((ranks) => ranks?.toReversed() ?? null),
          writersOf,
        ),
    },
  },
  P2: { what: 'nobody decides by priority', ...PRIORITY, rules: { isReferee: () => false } },
  P3: {
    what: 'what is decided is not put on top of what was written meanwhile',
    ...PRIORITY,
    rules: { putOnTop: (here) => here },
  },
  P4: {
    what: "what a referee writes counts as its own region's write",
    ...PRIORITY,
    rules: { remembersCarriedOut: false },
    firstSeed: 800,
  },
  P5: {
    what: 'counters are decided by priority too',
    ...PRIORITY,
    hasDeletes: true,
    transactions: 4,
    rules: {
      refereeByPriority: (start, operations, rules, priorities, writersOf) =>
        refereeByPriority(
          start,
          operations,
          rules.map(() => 'last' as const),
          priorities,
          writersOf,
        ),
    },
  },
  M23: {
    what: 'the copy is made before the donor is where the slots begin',
    ...JOINS,
    rules: { hasPassed: () => true },
    firstSeed: 1_300,
  },
  M24: {
    what: 'rows are copied without their versions',
    ...JOINS,
    rules: { versionToNote: () => null },
    firstSeed: 150,
  },
  M25: {
    what: 'tombstones are copied before the own reader has passed the copy',
    ...JOINS,
    keys: 3,
    transactions: 2,
    skew: 60,
    rules: { joinerWaitsForOwnReader: false },
    firstSeed: 2_250,
  },
  M26: {
    what: 'pruning does not count who joins',
    ...JOINS,
    rules: { countsNewcomer: false },
    firstSeed: 1_350,
  },
  M33: {
    what: 'a region that joins is opened while its clock is behind what it has',
    ...JOINS,
    rules: { joinerWaitsForClock: false },
  },
  M36: {
    what: 'what is in the log and not to be seen yet is not copied',
    ...JOINS,
    rules: { copiesExportedSnapshot: false },
    firstSeed: 150,
  },
  M45: {
    what: 'a region that joins goes on from where the donor is by then',
    ...JOINS,
    rules: { joinerStartsAt: 'as-opened' },
    firstSeed: 200,
  },
  M47: {
    what: 'of a row changed twice in a batch the first change stands',
    rules: { collapse: keepFirst },
  },
};

function* decideNothing(
  ...[base, operations, rules, here]: Parameters<typeof resolveRow>
): ReturnType<typeof resolveRow> {
  const { answered } = yield* resolveRow(base, operations, rules, here);
  return { wanted: here, answered };
}

/** One conflict at a time, each from what the last writes have left. */
function* forgetAnswers(
  ...[base, operations, rules, here]: Parameters<typeof resolveRow>
): ReturnType<typeof resolveRow> {
  let resolved: ResolvedRow = { wanted: here, answered: [] };
  let settled = base;
  for (const operation of operations) {
    const one = yield* resolveRow(settled, [operation], rules, here);
    if (one.answered.length > 0) resolved = one;
    settled = applyOperation(settled, operation, rules);
  }
  return resolved;
}

function keepFirst<Row>(changes: readonly Change<Row>[]): Change<Row>[] {
  const first = new Map<string, Change<Row>>();
  for (const change of changes) if (!first.has(rowId(change))) first.set(rowId(change), change);
  return [...first.values()];
}

import { compareVersions } from '../../../src/multi-leader/core/version.ts';
import { rowId } from '../../../src/multi-leader/core/change.ts';
import type { Change } from '../../../src/multi-leader/core/change.ts';
import type { Setup } from './run.ts';

/** More keys than values, which come back: rows take them from each other. */
const UNIQUE: Setup = { hasUniqueValues: true, valueCount: 3, keys: 4, transactions: 5 };

const TRUNCATES: Setup = { hasTruncates: true, keys: 3, transactions: 5 };

const FAMILIES: Setup = { orphanRule: 'restore-parent', transactions: 5, isUpdateOnly: false };

/** Every one must converge with every seed. */
export const SETUPS: Readonly<Record<string, Setup>> = {
  'three-regions': { crashes: 3 },
  'four-regions-one-key': { regions: 4, keys: 1, transactions: 3, crashes: 2 },
  'stamped-by-the-clock': { rules: { stamp: 'clock' }, crashes: 2 },
  'clock-checked-before-commit': { rules: { clockIsChecked: 'before-commit' } },
  'no-fast-path': { rules: { hasFastPath: false } },
  'equal-times': { hasEqualTimes: true },
  'clock-steps-back': { clockSteps: 2, rules: { rewritesBehindItself: 'own-past' }, mayGoBack: true },
  'values-come-back': { valueCount: 2 },
  'appliers-on-one-key': { rules: { oneApplierPerKey: false }, crashes: 2 },
  'unique-values': { ...UNIQUE, crashes: 2 },
  truncates: { ...TRUNCATES, crashes: 2 },
  'truncates-and-unique-values': { ...UNIQUE, hasTruncates: true },
  'parents-come-back': { ...FAMILIES, crashes: 2 },
  'orphans-are-deleted': { ...FAMILIES, orphanRule: 'delete-orphan', crashes: 2 },
  merge: { mode: 'merge', crashes: 3 },
  'merge-four-regions-one-key': { mode: 'merge', regions: 4, keys: 1, transactions: 3 },
};

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
  M47: {
    what: 'of a row changed twice in a batch the first change stands',
    rules: { collapse: keepFirst },
  },
};

function keepFirst<Row>(changes: readonly Change<Row>[]): Change<Row>[] {
  const first = new Map<string, Change<Row>>();
  for (const change of changes) if (!first.has(rowId(change))) first.set(rowId(change), change);
  return [...first.values()];
}

import { BatchNotes, noteOf } from '../../../src/multi-leader/core/batch-record.ts';
import { collapseChanges } from '../../../src/multi-leader/core/change.ts';
import { settleJournal } from '../../../src/multi-leader/core/merge.ts';
import { clockLackUs } from '../../../src/multi-leader/core/patience.ts';
import { decideRow, isSurelyOlder } from '../../../src/multi-leader/core/row-rule.ts';
import { hasPassed, versionToNote } from '../../../src/multi-leader/join/core/join-rule.ts';
import { judgeOrphan } from '../../../src/multi-leader/core/orphan-rule.ts';
import { judgeAside, mayTakeValues } from '../../../src/multi-leader/core/park-rule.ts';
import { decideGrants } from '../../../src/multi-leader/core/escrow-rule.ts';
import type { EscrowRules } from './escrow.ts';
import { putOnTop, refereeByPriority, refereeOf } from '../../../src/multi-leader/core/referee-rule.ts';
import { resolveRow } from '../../../src/multi-leader/core/resolve-rule.ts';
import { judgeTombstone, lowestPromise, mayForgetRecord } from '../../../src/multi-leader/core/watermark.ts';

/**
 * The shipped decisions, and the order in which the applier, the own reader and the pruning do their work. A mutant
 * replaces one of them.
 */
export interface RegionRules {
  readonly collapse: typeof collapseChanges;
  readonly decide: typeof decideRow;
  readonly isSurelyOlder: typeof isSurelyOlder;
  readonly clockLack: typeof clockLackUs;
  readonly judgeTombstone: typeof judgeTombstone;
  readonly mayForgetRecord: typeof mayForgetRecord;
  readonly lowestPromise: typeof lowestPromise;
  readonly createNotes: (highestUs: number) => BatchNotes;
  readonly noteOf: typeof noteOf;
  /** Whether a statement decides what it can before rows are read one by one. */
  readonly hasFastPath: boolean;
  /** Whether what the batch has written itself, which shows no commit time, passes the fast path. */
  readonly passesOwnWrites: boolean;
  /** A writer's old image that equals the row here decides, and no version. */
  readonly decidesByValue: boolean;
  readonly versionInRecord: 'of-row' | 'highest-of-batch' | 'lowest-of-batch';
  /** What an applied transaction is stamped with: what the batch says, the clock, or what the session used last. */
  readonly stamp: 'notes' | 'clock' | 'stale';
  readonly clockIsChecked: 'before-statements' | 'before-commit';
  /** When a row that is not here is looked up among the tombstones. */
  readonly missing: 'insert-wait-check' | 'check-then-insert' | 'insert-without-wait';
  readonly writesTombstones: boolean;
  readonly ownReaderWritesTombstones: boolean;
  readonly probesBeforePruning: boolean;
  readonly deletesBlindly: boolean;
  /** Appliers into one region do not work on one key at the same time. */
  readonly oneApplierPerKey: boolean;
  readonly promise: 'after-running-transactions' | 'at-once' | 'last-applied-time';
  readonly prunesBy: 'all-regions' | 'origin-only';
  /**
   * Whether rows of an own commit that came below the region's own past are written again once its clock is past. No
   * release does so: it is tried here what a clock that steps back would need.
   */
  readonly rewritesBehindItself: 'own-past' | 'own-commits' | 'never';
  readonly settle: typeof settleJournal;
  /** Merging waits for the own reader with the rows locked. */
  readonly mergeWaitsForOwnReader: boolean;
  /** All unsettled operations of a row are replayed, in the order of their versions. */
  readonly mergesInOrder: boolean;
  /** Columns stored out of line that did not change are left as they are here. */
  readonly keepsUnchangedColumns: boolean;
  readonly mayTakeValues: typeof mayTakeValues;
  readonly judgeAside: typeof judgeAside;
  /** What becomes of a row whose unique value a later one holds. */
  readonly whoLoses: 'goes-aside' | 'is-dropped' | 'is-refused';
  readonly bringsBack: boolean;
  /** A row that is aside keeps older changes of its key out, as a tombstone does. */
  readonly asideCounts: boolean;
  /** Rows come back in a transaction of their own, so that they show a commit time when tombstones are judged. */
  readonly bringsBackApart: boolean;
  readonly keepsRecordsOfUnique: boolean;
  readonly looksAtAllAside: boolean;
  readonly judgeOrphan: typeof judgeOrphan;
  /** A deleted parent is kept with what it held. */
  readonly keepsImages: boolean;
  /** A batch holds the parents of its rows. */
  readonly locksParents: boolean;
  readonly resolveRow: typeof resolveRow;
  readonly refereeByPriority: typeof refereeByPriority;
  readonly putOnTop: typeof putOnTop;
  readonly isReferee: (key: string, regionCount: number, region: number) => boolean;
  /** Which values a referee wrote to carry out what it decided, and whose they are, is remembered. */
  readonly remembersCarriedOut: boolean;
  readonly escrow: EscrowRules;
  readonly versionToNote: typeof versionToNote;
  readonly hasPassed: typeof hasPassed;
  /** Nobody prunes past a region that joins. */
  readonly countsNewcomer: boolean;
  /** What is in the log and not to be seen yet is copied too. */
  readonly copiesExportedSnapshot: boolean;
  /** The deletes that the copy shows have left their tombstones. */
  readonly joinerWaitsForOwnReader: boolean;
  readonly joinerWaitsForClock: boolean;
  /** Where the newcomer reads the others' logs on from. */
  readonly joinerStartsAt: 'as-copied' | 'as-opened';
  readonly truncateLeavesTombstone: boolean;
  /** Rows are looked at before a table's tombstone is forgotten. */
  readonly probesTable: boolean;
}

export const SHIPPED: RegionRules = {
  collapse: collapseChanges,
  decide: decideRow,
  isSurelyOlder,
  clockLack: clockLackUs,
  judgeTombstone,
  mayForgetRecord,
  lowestPromise,
  createNotes: (highestUs) => new BatchNotes(highestUs),
  noteOf,
  hasFastPath: true,
  passesOwnWrites: false,
  decidesByValue: false,
  versionInRecord: 'of-row',
  stamp: 'notes',
  clockIsChecked: 'before-statements',
  missing: 'insert-wait-check',
  writesTombstones: true,
  ownReaderWritesTombstones: true,
  probesBeforePruning: true,
  deletesBlindly: false,
  oneApplierPerKey: true,
  promise: 'after-running-transactions',
  prunesBy: 'all-regions',
  rewritesBehindItself: 'never',
  settle: settleJournal,
  mergeWaitsForOwnReader: true,
  mergesInOrder: true,
  keepsUnchangedColumns: false,
  mayTakeValues,
  judgeAside,
  whoLoses: 'goes-aside',
  bringsBack: true,
  asideCounts: true,
  bringsBackApart: true,
  keepsRecordsOfUnique: true,
  looksAtAllAside: true,
  judgeOrphan,
  keepsImages: true,
  locksParents: true,
  resolveRow,
  refereeByPriority,
  putOnTop,
  isReferee: (key, regionCount, region) => refereeOf(key, [...Array(regionCount).keys()]) === region,
  remembersCarriedOut: true,
  escrow: { decideGrants, takesOff: true, looksWhenItGives: true, receives: 'with-position' },
  versionToNote,
  hasPassed,
  countsNewcomer: true,
  copiesExportedSnapshot: true,
  joinerWaitsForOwnReader: true,
  joinerWaitsForClock: true,
  joinerStartsAt: 'as-copied',
  truncateLeavesTombstone: true,
  probesTable: true,
};

import type { BatchNote, BatchStamp } from '../../../src/multi-leader/core/batch-record.ts';
import type { Change } from '../../../src/multi-leader/core/change.ts';
import type { OrphanRule } from '../../../src/multi-leader/core/orphan-rule.ts';
import type { Image } from '../../../src/multi-leader/core/image.ts';
import type { ColumnRule, Conflict, Operation } from '../../../src/multi-leader/core/merge.ts';
import { laterVersion } from '../../../src/multi-leader/core/version.ts';
import type { PresentRow } from '../../../src/multi-leader/core/row-rule.ts';
import type { Priorities } from '../../../src/multi-leader/core/referee-rule.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { createJoin } from './joining.ts';
import type { JoinState } from './joining.ts';
import { SHIPPED } from './rules.ts';
import type { RegionRules } from './rules.ts';

/** A value, a second one that stands for a column stored out of line, and a count. */
export type Row = Image;

/** What a session does to a key; a put is an update where the row is there, and an insert where it is not. */
export interface ScriptStep {
  readonly key: string;
  readonly value: string;
  readonly isDelete: boolean;
  readonly isUpdateOnly: boolean;
  /** Of the whole table; then nothing else of it counts. */
  readonly isTruncate: boolean;
  readonly changesValue: boolean;
  readonly changesBig: boolean;
  /** To the count. */
  readonly adds: number;
}

export interface LoggedChange {
  readonly kind: 'put' | 'delete' | 'truncate';
  readonly key: string;
  readonly old: Row | null;
  readonly row: Row | null;
}

/** One commit record of a region's log. */
export interface LogEntry {
  readonly lsn: number;
  readonly timeUs: number;
  readonly isApplied: boolean;
  readonly changes: readonly LoggedChange[];
  /** Of what somebody wrote, how far each region's log was known to who did; null of what was applied or decided. */
  readonly known: readonly number[] | null;
}

/**
 * A local transaction: rows locked, then its commit time taken, then its commit record in the log, from where it may be
 * shipped, then visible. So the orders of time, log and visibility differ.
 */
export interface OpenTransaction {
  readonly xid: number;
  readonly changes: readonly LoggedChange[];
  readonly known: readonly number[];
  state: 'open' | 'stamped' | 'logged';
  timeUs: number;
}

export interface RegionState {
  readonly id: number;
  /** Its people may write; one that joins is not open before it has all that the others have. */
  isOpen: boolean;
  /** Whose promises its pruning counts. */
  readonly members: number[];
  nextXid: number;
  /** Its clock, against the others'. */
  offset: number;
  readonly rows: Map<string, { readonly row: Row; readonly xid: number }>;
  readonly transactions: Map<number, { readonly timeUs: number; readonly isApplied: boolean }>;
  readonly log: LogEntry[];
  /** By key, all that were noted and not forgotten. */
  readonly records: Map<string, readonly BatchNote[]>;
  /** What the last batch from each region was stamped with. */
  readonly batchStamps: Map<number, BatchStamp>;
  readonly tombstones: Map<string, Version>;
  /** Rows that a later row keeps out of the table, by a value that is unique. */
  readonly aside: Map<string, { readonly row: Row; readonly version: Version }>;
  /** Parents that were deleted here, with what they held. */
  readonly removed: Map<string, { readonly version: Version; readonly row: Row | null }>;
  /** Rows that came without their parent. */
  readonly orphans: Set<string>;
  /** In merge mode, what is not settled of each row. */
  readonly journal: Map<string, { base: Row | null; operations: Operation[] }>;
  readonly conflicts: Conflict[];
  /** Rows that this region referees, with settled operations that its resolver is to be asked about. */
  readonly openConflicts: {
    readonly key: string;
    readonly base: Row | null;
    readonly operations: readonly Operation[];
  }[];
  readonly priority: PriorityState;
  /** How far the own reader is in the own log. */
  ownPosition: number;
  /** How far each other region's log is applied here. */
  readonly positions: Map<number, number>;
  /** What each region, this one too, has promised, as far as it is known here. */
  readonly promised: Map<number, number>;
  promiseUnderWay: { readonly timeUs: number; readonly waitsFor: readonly number[] } | null;
  readonly promises: { readonly timeUs: number; readonly position: number }[];
  open: OpenTransaction[];
  readonly locks: Map<string, string>;
  script: (readonly ScriptStep[])[];
  lastPruned: number;
  readonly rewrites: { readonly key: string; readonly afterUs: number }[];
  highestUs: number;
  readonly sessionStamps: Map<number, number>;
  /** The highest version that a key has ever shown here. */
  readonly shown: Map<string, Version>;
}

/** What a region has to remember as the referee of rows by the regions' priority. */
export interface PriorityState {
  readonly known: Map<
    string,
    { readonly writers: Writers; readonly isOpen: boolean; readonly decided: Row | null }
  >;
  readonly pending: {
    readonly key: string;
    readonly settled: Row | null;
    readonly decided: Row | null;
    readonly writers: Writers;
  }[];
  readonly carriedOut: Map<string, { readonly row: Row; readonly writers: Writers }>;
}

/** By column, whose write stands; null where that is not known any more. */
export type Writers = readonly (number | null)[];

/** One batch on its way from a region into another. */
export interface Applying {
  phase: 'waiting-to-check' | 'locked';
  readonly count: number;
  readonly until: number;
  readonly changes: readonly Change<Row>[];
  /** In merge mode, each transaction's. */
  readonly operations: readonly { readonly key: string; readonly operation: Operation }[];
  readonly logged: ReadonlyMap<string, LoggedChange>;
  readonly isPresent: ReadonlyMap<string, boolean>;
  readonly checkedTombstones: ReadonlyMap<string, Version> | null;
  /** Where the own reader must be first; null when it need not be waited for. */
  readonly waitsForOwn: number | null;
  readonly highestUs: number;
  readonly locked: readonly string[];
}

export interface World {
  now: number;
  readonly rules: RegionRules;
  /** Last write wins by row, or columns merge. */
  readonly mode: 'row' | 'merge';
  readonly regions: readonly RegionState[];
  /** By `from>to`. */
  readonly applying: Map<string, Applying>;
  readonly keys: readonly string[];
  readonly violations: string[];
  crashesLeft: number;
  clockStepsLeft: number;
  readonly hasEqualTimes: boolean;
  readonly valueCount: number;
  /** Of all rows of a region the first column is unique, where it is not null. */
  readonly hasUniqueValues: boolean;
  /** What becomes of a row, of key c…, without its parent, of key p…, which its first column names; null for no such rows. */
  readonly orphanRule: OrphanRule | null;
  /** Rows have tags in the first column, and a resolver that unites them; a growing one never gives the same twice. */
  readonly resolver: 'unites' | 'grows' | null;
  /** Of the first column, the regions whose write stays, the first one first. */
  readonly priorities: Priorities | null;
  /** How often the resolver was asked. */
  asked: number;
  /** Of a region that joins while the others write; null where all are there from the beginning. */
  readonly join: JoinState | null;
  /** Rows that only the look before pruning has put right. */
  repaired: number;
  decisions: number;
}

export const TABLE = 't';
/** In place of a key: the table's own lock, and tombstone. */
export const WHOLE_TABLE = '';
const INITIAL: Row = ['init', 'init', '10'];
/** Of a row's columns in merge mode. */
export const COLUMN_RULES: readonly ColumnRule[] = ['last', 'last', 'counter'];

export interface WorldOptions {
  readonly mode?: 'row' | 'merge';
  readonly regions: number;
  readonly keys: readonly string[];
  readonly scripts: readonly (readonly (readonly ScriptStep[])[])[];
  readonly offsets: readonly number[];
  readonly rules?: Partial<RegionRules>;
  readonly crashes?: number;
  readonly clockSteps?: number;
  readonly hasEqualTimes?: boolean;
  /** How many different values there are; 0 for a new one with each write. */
  readonly valueCount?: number;
  readonly hasUniqueValues?: boolean;
  readonly orphanRule?: OrphanRule | null;
  readonly resolver?: World['resolver'];
  readonly priorities?: World['priorities'];
  /** The last region joins the others. */
  readonly joins?: boolean;
}

const SETTLED_XID = 0;

/** What a row is before all. */
export function initialRow(
  { hasUniqueValues, orphanRule }: Pick<WorldOptions, 'hasUniqueValues' | 'orphanRule'>,
  key: string,
): Row {
  if (orphanRule != null && key.startsWith('c')) return ['p0', 'init', '10'];
  return hasUniqueValues === true ? [`init ${key}`, 'init', '10'] : INITIAL;
}

export function createWorld(options: WorldOptions): World {
  const { keys } = options;
  const newcomer = options.joins === true ? options.regions - 1 : null;
  const founders = Array.from({ length: options.regions }, (_, id) => id).filter((id) => id !== newcomer);
  const regions = Array.from({ length: options.regions }, (_, id): RegionState => ({
    id,
    isOpen: id !== newcomer,
    members: id === newcomer ? [] : [...founders],
    nextXid: 1,
    offset: options.offsets[id] ?? 0,
    rows:
      id === newcomer
        ? new Map()
        : new Map(keys.map((key) => [key, { row: initialRow(options, key), xid: SETTLED_XID }])),
    transactions: new Map(),
    log: [],
    records: new Map(),
    batchStamps: new Map(),
    tombstones: new Map(),
    aside: new Map(),
    removed: new Map(),
    orphans: new Set(),
    journal: new Map(),
    conflicts: [],
    openConflicts: [],
    priority: { known: new Map(), pending: [], carriedOut: new Map() },
    ownPosition: 0,
    positions: new Map(),
    promised: new Map(),
    promiseUnderWay: null,
    promises: [],
    open: [],
    locks: new Map(),
    script: [...(options.scripts[id] ?? [])],
    lastPruned: -1,
    rewrites: [],
    highestUs: 0,
    sessionStamps: new Map(),
    shown: new Map(),
  }));
  return {
    now: 1_000,
    rules: { ...SHIPPED, ...options.rules },
    mode: options.mode ?? 'row',
    regions,
    applying: new Map(),
    keys,
    violations: [],
    crashesLeft: options.crashes ?? 0,
    clockStepsLeft: options.clockSteps ?? 0,
    hasEqualTimes: options.hasEqualTimes ?? false,
    valueCount: options.valueCount ?? 0,
    hasUniqueValues: options.hasUniqueValues ?? false,
    orphanRule: options.orphanRule ?? null,
    resolver: options.resolver ?? null,
    priorities: options.priorities ?? null,
    asked: 0,
    join: newcomer === null ? null : createJoin(newcomer),
    repaired: 0,
    decisions: 0,
  };
}

export function regionAt(world: World, id: number): RegionState {
  const region = world.regions[id];
  if (region === undefined) throw new Error(`there is no region ${id}`);
  return region;
}

export function clockOf(world: World, region: RegionState): number {
  return world.now + region.offset;
}

export function log(
  region: RegionState,
  timeUs: number,
  isApplied: boolean,
  changes: readonly LoggedChange[],
  known: readonly number[] | null = null,
): void {
  region.log.push({ lsn: region.log.length + 1, timeUs, isApplied, changes, known });
}

/** The later one of a key's tombstone and its table's. */
export function tombstoneFor(region: RegionState, key: string): Version | null {
  const own = region.tombstones.get(key) ?? null;
  const all = region.tombstones.get(WHOLE_TABLE);
  return all === undefined ? own : laterVersion(own, all);
}

export function linkId(from: number, to: number): string {
  return `${from}>${to}`;
}

/** As a statement finds it; null for none. */
export function presentRow(world: World, region: RegionState, key: string): PresentRow | null {
  const here = region.rows.get(key);
  if (here === undefined) return null;
  const isApplied = region.transactions.get(here.xid)?.isApplied === true;
  return {
    kind: 'present',
    committedUs: committedUs(region, here.xid),
    isApplied,
    record: noteFor(world, region, key, committedUs(region, here.xid)),
  };
}

/** The version that stands noted of a row which the transaction of this time has written; null for none. */
export function noteFor(
  { rules }: World,
  { records }: RegionState,
  key: string,
  timeUs: number | null,
): Version | null {
  return rules.noteOf(records.get(key) ?? [], timeUs);
}

export function note({ records }: RegionState, key: string, version: Version, batchTimeUs: number): void {
  records.set(key, [...(records.get(key) ?? []), { version, batchTimeUs }]);
}

/** Null for a row that was there before all. */
export function committedUs(region: RegionState, xid: number): number | null {
  return region.transactions.get(xid)?.timeUs ?? null;
}

/** Notes what a key shows now; showing an older version than before is a broken promise. */
export function show(world: World, region: RegionState, key: string, version: Version): void {
  const before = region.shown.get(key);
  const isSameWrite =
    before !== undefined && version.timeUs === before.timeUs && version.region === before.region;
  if (before !== undefined && !isSameWrite && isEarlier(version, before))
    world.violations.push(`region ${region.id} went back on ${key}`);
  if (before === undefined || isEarlier(before, version)) region.shown.set(key, version);
}

export function isEarlier(a: Version, b: Version): boolean {
  if (a.timeUs !== b.timeUs) return a.timeUs < b.timeUs;
  if (a.region !== b.region) return a.region < b.region;
  return a.lsn < b.lsn;
}

/** A region's own write in one step, of what it decided by itself. */
export function writeAtOnce(world: World, region: RegionState, change: LoggedChange): void {
  world.now++;
  const timeUs = clockOf(world, region);
  const xid = region.nextXid++;
  region.transactions.set(xid, { timeUs, isApplied: false });
  log(region, timeUs, false, [change]);
  if (change.row === null) region.rows.delete(change.key);
  else region.rows.set(change.key, { row: change.row, xid });
  const version = { timeUs, region: region.id, lsn: 0n };
  region.shown.set(change.key, laterVersion(region.shown.get(change.key), version));
}

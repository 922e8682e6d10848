import { highestTimeUs } from '../../../src/multi-leader/core/change.ts';
import type { Change } from '../../../src/multi-leader/core/change.ts';
import { stampAfter } from '../../../src/multi-leader/core/batch-record.ts';
import type { BatchNotes } from '../../../src/multi-leader/core/batch-record.ts';
import { isSameImage } from '../../../src/multi-leader/core/image.ts';
import type { Operation } from '../../../src/multi-leader/core/merge.ts';
import type { MissingRow, PresentRow, RowDecision } from '../../../src/multi-leader/core/row-rule.ts';
import { laterVersion } from '../../../src/multi-leader/core/version.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { commitOperations } from './journal.ts';
import { noteOrphans } from './orphans.ts';
import { commitCarefully, locksFor, meetsTakenValue, tombstoneOf } from './parking.ts';
import {
  clockOf,
  committedUs,
  isEarlier,
  linkId,
  log,
  note,
  noteFor,
  regionAt,
  show,
  TABLE,
  WHOLE_TABLE,
} from './world.ts';
import type { Applying, LoggedChange, RegionState, Row, World } from './world.ts';

/** The next `count` commits of `from` that `to` lacks, as changes. */
function takeBatch(
  world: World,
  from: RegionState,
  to: RegionState,
  count: number,
): Pick<Applying, 'changes' | 'operations' | 'logged' | 'until'> {
  const start = to.positions.get(from.id) ?? 0;
  const next = from.log.slice(start, start + count);
  const end = next.findIndex(({ changes }) => changes[0]?.kind === 'truncate');
  const entries = end === -1 ? next : next.slice(0, end);
  const logged = new Map<string, LoggedChange>();
  const all: Change<Row>[] = [];
  const operations: { key: string; operation: Operation }[] = [];
  for (const entry of entries) {
    if (entry.isApplied) continue;
    for (const change of entry.changes) {
      if (change.kind === 'truncate') continue;
      const version: Version = { timeUs: entry.timeUs, region: from.id, lsn: BigInt(entry.lsn) };
      all.push({ kind: change.kind, table: TABLE, key: change.key, version, row: change.row });
      logged.set(change.key, change);
      operations.push({ key: change.key, operation: { version, old: change.old, row: change.row } });
    }
  }
  const changes = world.mode === 'merge' ? all : world.rules.collapse(all);
  return { changes, operations, logged, until: start + entries.length };
}

/** True when the batch may begin, else how much time its clock lacks; 0 where a key is held. */
export function mayBegin(world: World, from: RegionState, to: RegionState, count: number): true | number {
  const { rules } = world;
  const { changes } = takeBatch(world, from, to, count);
  if (to.locks.has(WHOLE_TABLE)) return 0;
  if (rules.clockIsChecked === 'before-statements') {
    const { stampUs } = stampAfter(to.batchStamps.get(from.id) ?? null, highestTimeUs(changes));
    const lack = rules.clockLack(clockOf(world, to), stampUs);
    if (lack > 0) return lack;
  }
  for (const change of changes) {
    const locks = [
      ...(isLocking(to, change) ? [change.key] : []),
      ...locksFor(world, to, change.key, change.row),
    ];
    if (locks.some((lock) => to.locks.has(lock))) return 0;
    if (!rules.oneApplierPerKey) continue;
    for (const [link, other] of world.applying)
      if (link.endsWith(`>${to.id}`) && other.changes.some(({ key }) => key === change.key)) return 0;
  }
  return true;
}

/** A DELETE of a row that is not visible locks nothing. */
function isLocking(to: RegionState, change: Change<Row>): boolean {
  return !(change.kind === 'delete' && !to.rows.has(change.key));
}

/** A mutant's way: the tombstones are looked at once the own reader is here, and only then rows are locked. */
export function beginToWait(world: World, fromId: number, toId: number, count: number): void {
  const to = regionAt(world, toId);
  const batch = takeBatch(world, regionAt(world, fromId), to, count);
  world.applying.set(linkId(fromId, toId), {
    ...batch,
    phase: 'waiting-to-check',
    count,
    changes: [],
    operations: [],
    isPresent: new Map(),
    checkedTombstones: null,
    waitsForOwn: to.log.length,
    highestUs: 0,
    locked: [],
  });
}

/** The batch's statements run: rows are locked, inserts are tried. */
export function lockBatch(world: World, fromId: number, toId: number, count: number): void {
  const to = regionAt(world, toId);
  const link = linkId(fromId, toId);
  const batch = takeBatch(world, regionAt(world, fromId), to, count);
  const locked: string[] = [];
  const isPresent = new Map<string, boolean>();
  let hasInserted = false;
  for (const change of batch.changes) {
    const isHere = to.rows.has(change.key) || locked.includes(change.key);
    if (!isPresent.has(change.key)) isPresent.set(change.key, isHere);
    if (!isHere && change.kind === 'put') hasInserted = true;
    if (!isHere && change.kind === 'delete') continue;
    locked.push(change.key);
    to.locks.set(change.key, link);
  }
  for (const change of batch.changes) {
    for (const lock of locksFor(world, to, change.key, change.row)) {
      locked.push(lock);
      to.locks.set(lock, link);
    }
  }
  const waits =
    world.mode === 'merge'
      ? world.rules.mergeWaitsForOwnReader
      : world.rules.missing === 'insert-wait-check' && hasInserted;
  world.applying.set(link, {
    ...batch,
    phase: 'locked',
    count,
    isPresent,
    checkedTombstones: world.rules.missing === 'insert-wait-check' ? null : new Map(to.tombstones),
    waitsForOwn: waits ? to.log.length : null,
    highestUs: highestTimeUs(batch.changes),
    locked,
  });
}

export function crash(world: World, fromId: number, toId: number): void {
  world.crashesLeft--;
  release(world, regionAt(world, toId), linkId(fromId, toId));
}

function release(world: World, to: RegionState, link: string): void {
  for (const key of world.applying.get(link)?.locked ?? [])
    if (to.locks.get(key) === link) to.locks.delete(key);
  world.applying.delete(link);
}

export function commitBatch(world: World, fromId: number, toId: number): void {
  const link = linkId(fromId, toId);
  const to = regionAt(world, toId);
  const batch = world.applying.get(link);
  if (batch === undefined) return;
  const { rules } = world;
  const batchStamp = stampAfter(to.batchStamps.get(fromId) ?? null, batch.highestUs);
  to.batchStamps.set(fromId, batchStamp);
  const notes = rules.createNotes(batchStamp.stampUs);
  const xid = to.nextXid++;
  const written = new Set<string>();
  if (world.mode === 'merge') commitOperations(world, to, batch, xid);
  else if (world.hasUniqueValues && meetsTakenValue(to, batch.changes))
    commitCarefully(world, to, batch, { notes, xid });
  else for (const change of batch.changes) applyChange(world, to, batch, change, { notes, xid, written });
  noteOrphans(world, to, batch.changes);
  const stamp = stampOf(world, to, fromId, notes);
  to.transactions.set(xid, { timeUs: stamp, isApplied: true });
  const versions = notes.records.map(({ version }) => version);
  const highest = versions.reduce<Version | null>((a, b) => laterVersion(a, b), null);
  const lowest = versions.reduce<Version | null>((a, b) => (a === null || isEarlier(b, a) ? b : a), null);
  for (const { key, version } of notes.records) {
    const noted = { 'of-row': version, 'highest-of-batch': highest, 'lowest-of-batch': lowest };
    note(to, key, noted[rules.versionInRecord] ?? version, stamp);
  }
  if (rules.writesTombstones)
    for (const { key, version } of notes.tombstones)
      to.tombstones.set(key, laterVersion(to.tombstones.get(key), version));
  log(to, stamp, true, []);
  to.positions.set(fromId, batch.until);
  if (rules.promise === 'last-applied-time')
    to.promised.set(fromId, Math.max(to.promised.get(fromId) ?? -1, batch.highestUs));
  release(world, to, link);
}

function stampOf(world: World, to: RegionState, from: number, notes: BatchNotes): number {
  if (world.rules.stamp === 'notes') return notes.commitTimeUs;
  if (world.rules.stamp === 'clock') {
    world.now++;
    return clockOf(world, to) - 1;
  }
  const stale = to.sessionStamps.get(from) ?? clockOf(world, to);
  to.sessionStamps.set(from, stale);
  return stale;
}

interface Writing {
  readonly notes: BatchNotes;
  readonly xid: number;
  readonly written: Set<string>;
}

function applyChange(
  world: World,
  to: RegionState,
  batch: Applying,
  change: Change<Row>,
  { notes, xid, written }: Writing,
): void {
  const { key } = change;
  const here = to.rows.get(key);
  const decision = decide(world, to, batch, change, written.has(key));
  world.decisions++;
  if (decision.kind === 'keep') return;
  if (decision.kind === 'put') {
    show(world, to, key, change.version);
    const logged = batch.logged.get(key);
    const row = change.row ?? [];
    const isBigUnchanged = logged?.old != null && logged.old[1] === row[1];
    const keeps = world.rules.keepsUnchangedColumns && isBigUnchanged && here !== undefined;
    to.rows.set(key, { row: keeps ? [row[0] ?? null, here.row[1] ?? null, row[2] ?? null] : row, xid });
    written.add(key);
    notes.put(change, change.version);
    return;
  }
  if (decision.kind === 'delete') {
    show(world, to, key, change.version);
    to.rows.delete(key);
  } else if (here === undefined) to.shown.set(key, laterVersion(to.shown.get(key), change.version));
  notes.delete(change);
}

function decide(
  world: World,
  to: RegionState,
  batch: Applying,
  change: Change<Row>,
  isOwnWrite: boolean,
): RowDecision {
  const { rules } = world;
  const { key } = change;
  const here = to.rows.get(key);
  // A row that was not here when the statements ran and could not be locked is not seen, though it may have come since.
  if (here === undefined || batch.isPresent.get(key) !== true) {
    const tombstone =
      batch.checkedTombstones === null ? tombstoneOf(world, to, key) : batch.checkedTombstones.get(key);
    const missing: MissingRow = { kind: 'missing', tombstone: tombstone ?? null };
    return rules.decide(change, missing, to.id);
  }
  if (rules.deletesBlindly && change.kind === 'delete') return { kind: 'delete' };
  if (rules.decidesByValue) {
    const old = batch.logged.get(key)?.old;
    if (old != null && isSameImage(old, here.row)) return { kind: change.kind };
  }
  const isApplied = isOwnWrite || to.transactions.get(here.xid)?.isApplied === true;
  const committed = committedUs(to, here.xid);
  if (rules.hasFastPath && (!isOwnWrite || rules.passesOwnWrites)) {
    if (rules.isSurelyOlder(committed, change.version)) return { kind: change.kind };
  }
  const record = noteFor(world, to, key, committed);
  const present: PresentRow = { kind: 'present', committedUs: committed, isApplied, record };
  return rules.decide(change, present, to.id);
}

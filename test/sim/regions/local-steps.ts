import type { Version } from '../../../src/multi-leader/core/version.ts';
import { laterVersion } from '../../../src/multi-leader/core/version.ts';
import { enterOperation, settle } from './journal.ts';
import { bringBack, holdersOf, locksFor } from './parking.ts';
import { breaksReference, keepRemoved, parentLocks } from './orphans.ts';
import { forgetTruncate } from './truncate.ts';
import { uniteTags } from './resolving.ts';
import { clockOf, committedUs, log, noteFor, regionAt, WHOLE_TABLE } from './world.ts';
import type { LoggedChange, RegionState, Row, ScriptStep, World } from './world.ts';

const UNKNOWN_LSN = 0n;

export function begin(world: World, id: number): void {
  const region = regionAt(world, id);
  const changes: LoggedChange[] = [];
  for (const step of region.script.shift() ?? []) {
    const old = region.rows.get(step.key)?.row ?? null;
    if (step.isTruncate) changes.push({ kind: 'truncate', key: WHOLE_TABLE, old: null, row: null });
    else if (step.isDelete) {
      const change: LoggedChange = { kind: 'delete', key: step.key, old, row: null };
      if (old !== null && !breaksReference(world, region, change, changes)) changes.push(change);
    } else if (old !== null || !step.isUpdateOnly) {
      const row = rowAfter(world, step, old);
      if (isTaken(world, region, step.key, row, changes)) continue;
      const change: LoggedChange = { kind: 'put', key: step.key, old, row };
      if (!breaksReference(world, region, change, changes)) changes.push(change);
    }
  }
  if (changes.length === 0) return;
  const xid = region.nextXid++;
  for (const { key, row } of changes)
    for (const lock of [key, ...locksFor(world, region, key, row), ...parentLocks(world, key, row)])
      region.locks.set(lock, `x${xid}`);
  if (changes[0]?.kind === 'truncate') for (const key of world.keys) region.locks.set(key, `x${xid}`);
  const known = world.regions.map((other) =>
    other === region ? region.log.length : (region.positions.get(other.id) ?? 0),
  );
  region.open.push({ xid, changes, known, state: 'open', timeUs: 0 });
}

/** Somebody who writes is refused a value that is taken here, or gives up on one that is about to be. */
function isTaken(
  world: World,
  region: RegionState,
  key: string,
  row: Row,
  own: readonly LoggedChange[],
): boolean {
  if (!world.hasUniqueValues) return false;
  const [value] = row;
  return (
    holdersOf(region, key, row).length > 0 ||
    region.locks.has(`=${value}`) ||
    own.some((change) => change.row?.[0] === value)
  );
}

function rowAfter(world: World, { value, changesValue, changesBig, adds }: ScriptStep, old: Row | null): Row {
  if (old === null) return [value, value, '10'];
  const [before = null, big = null, count = null] = old;
  const next = world.resolver === null ? value : uniteTags(before, value);
  return [changesValue ? next : before, changesBig ? value : big, String(Number(count) + adds)];
}

/** Takes a local transaction one step on its way to being visible. */
export function advanceTransaction(world: World, id: number, index: number): void {
  const region = regionAt(world, id);
  const transaction = region.open[index];
  if (transaction === undefined) return;
  if (transaction.state === 'open') {
    if (!world.hasEqualTimes) world.now++;
    transaction.timeUs = clockOf(world, region);
    transaction.state = 'stamped';
  } else if (transaction.state === 'stamped') {
    region.transactions.set(transaction.xid, { timeUs: transaction.timeUs, isApplied: false });
    log(region, transaction.timeUs, false, transaction.changes, transaction.known);
    transaction.state = 'logged';
  } else {
    region.open = region.open.filter((one) => one !== transaction);
    for (const change of transaction.changes.flatMap((one) => eachRow(world, one))) {
      // It may be older than a delete that passed it by while it was not visible: seen for a moment, until pruning.
      region.shown.set(change.key, { timeUs: transaction.timeUs, region: id, lsn: UNKNOWN_LSN });
      place(region, change.key, change.row, transaction.xid);
    }
    for (const [lock, holder] of region.locks)
      if (holder === `x${transaction.xid}`) region.locks.delete(lock);
  }
}

/** A truncate takes every row. */
function eachRow(world: World, change: LoggedChange): readonly LoggedChange[] {
  if (change.kind !== 'truncate') return [change];
  return world.keys.map((key) => ({ kind: 'delete', key, old: null, row: null }));
}

export function place(region: RegionState, key: string, row: Row | null, xid: number): void {
  if (row === null) region.rows.delete(key);
  else region.rows.set(key, { row, xid });
}

/** The own reader takes one commit of the own log: tombstones for what was deleted here, and the region's own past. */
export function readOwn(world: World, id: number): void {
  const region = regionAt(world, id);
  const { rules } = world;
  const entry = region.log[region.ownPosition++];
  if (entry === undefined || entry.isApplied) return;
  if (rules.rewritesBehindItself === 'own-past') {
    for (const promise of region.promises)
      if (promise.position < entry.lsn) region.highestUs = Math.max(region.highestUs, promise.timeUs);
  }
  if (rules.rewritesBehindItself !== 'never') {
    if (entry.timeUs < region.highestUs)
      for (const { key } of entry.changes) region.rewrites.push({ key, afterUs: region.highestUs });
    region.highestUs = Math.max(region.highestUs, entry.timeUs);
  }
  if (world.mode === 'merge') {
    for (const { key, old, row } of entry.changes) {
      const version: Version = { timeUs: entry.timeUs, region: id, lsn: BigInt(entry.lsn) };
      enterOperation(region, key, old, { version, old, row });
    }
    return;
  }
  keepRemoved(world, region, entry);
  if (!rules.ownReaderWritesTombstones) return;
  for (const { kind, key } of entry.changes) {
    if (kind === 'put') continue;
    const version: Version = { timeUs: entry.timeUs, region: id, lsn: BigInt(entry.lsn) };
    region.tombstones.set(key, laterVersion(region.tombstones.get(key), version));
  }
}

/** Writes a row again that a clock which had stepped back stamped too early: an ordinary local change. */
export function rewrite(world: World, id: number): void {
  const region = regionAt(world, id);
  const { key } = region.rewrites.shift() ?? { key: '' };
  world.now++;
  const timeUs = clockOf(world, region);
  const xid = region.nextXid++;
  const row = region.rows.get(key)?.row ?? null;
  region.transactions.set(xid, { timeUs, isApplied: false });
  log(region, timeUs, false, [{ kind: row === null ? 'delete' : 'put', key, old: row, row }]);
  if (row !== null) region.rows.set(key, { row, xid });
  region.shown.set(key, laterVersion(region.shown.get(key), { timeUs, region: id, lsn: UNKNOWN_LSN }));
}

export function beginPromise(world: World, id: number): void {
  const region = regionAt(world, id);
  const waitsFor = world.rules.promise === 'at-once' ? [] : region.open.map(({ xid }) => xid);
  region.promiseUnderWay = { timeUs: clockOf(world, region), waitsFor };
  world.now++;
}

export function endPromise(world: World, id: number): void {
  const region = regionAt(world, id);
  if (region.promiseUnderWay === null) return;
  region.promises.push({ timeUs: region.promiseUnderWay.timeUs, position: region.log.length });
  region.promiseUnderWay = null;
}

/** Forgets what nothing can be compared with any more. */
export function prune(world: World, id: number): void {
  const region = regionAt(world, id);
  const { rules } = world;
  const lowest = lowestOf(world, region);
  region.lastPruned = lowest ?? region.lastPruned;
  if (world.mode === 'merge') {
    settle(world, region, lowest ?? -1);
    return;
  }
  const commitAside = world.hasUniqueValues ? bringBack(world, region) : undefined;
  if (rules.bringsBackApart) commitAside?.();
  const limitFor = (origin: number): number =>
    (rules.prunesBy === 'origin-only' ? region.promised.get(origin) : lowest) ?? -1;
  const busy = new Set<string>();
  if (!forgetTruncate(world, region, lowest ?? -1)) return;
  for (const [key, version] of region.tombstones) {
    if (key === WHOLE_TABLE) continue;
    const here = region.rows.get(key);
    if (here !== undefined && region.locks.has(key)) {
      busy.add(key);
      continue;
    }
    const fate = rules.judgeTombstone(
      version,
      here === undefined || !rules.probesBeforePruning
        ? { kind: 'missing', tombstone: version }
        : {
            kind: 'present',
            committedUs: committedUs(region, here.xid),
            isApplied: region.transactions.get(here.xid)?.isApplied === true,
            record: noteFor(world, region, key, committedUs(region, here.xid)),
          },
      limitFor(version.region),
      id,
    );
    if (fate === 'keep') continue;
    if (fate === 'delete-row') {
      region.rows.delete(key);
      world.repaired++;
    }
    region.tombstones.delete(key);
  }
  if (!rules.bringsBackApart) commitAside?.();
  if (world.hasUniqueValues && rules.keepsRecordsOfUnique) return;
  for (const [key, notes] of region.records) {
    if (busy.has(key)) continue;
    const kept = notes.filter(
      ({ version, batchTimeUs }) => !rules.mayForgetRecord(batchTimeUs, limitFor(version.region)),
    );
    if (kept.length === 0) region.records.delete(key);
    else region.records.set(key, kept);
  }
}

export function lowestOf(world: World, region: RegionState): number | null {
  return world.rules.lowestPromise(region.members, region.promised);
}

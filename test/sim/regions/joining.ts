import type { Version } from '../../../src/multi-leader/core/version.ts';
import { clockOf, log, note, presentRow, regionAt } from './world.ts';
import type { RegionState, World } from './world.ts';

/** How far a region is that joins the others while they write; they copy it from the first one. */
export interface JoinState {
  readonly newcomer: number;
  readonly donor: number;
  phase: 'alone' | 'counted' | 'slots' | 'positions' | 'copied' | 'read' | 'open';
  /** Of each region, when it was looked at, and which transactions ran then. */
  looks: readonly { readonly timeUs: number; readonly waitsFor: readonly number[] }[];
  /** Where each region's slot for the newcomer begins. */
  points: ReadonlyMap<number, bigint>;
  /** How far the donor was with each other log, before it was copied. */
  positions: ReadonlyMap<number, number>;
  /** Where the donor's own log was when it was copied. */
  copiedAt: number;
  tombstones: ReadonlyMap<string, Version>;
  /** All that the newcomer has is of before that time. */
  horizonUs: number;
}

export function createJoin(newcomer: number): JoinState {
  return {
    newcomer,
    donor: 0,
    phase: 'alone',
    looks: [],
    points: new Map(),
    positions: new Map(),
    copiedAt: 0,
    tombstones: new Map(),
    horizonUs: 0,
  };
}

/** True when the next step may be taken, else how much time the newcomer's clock lacks; 0 when something else must come first. */
export function mayJoin(world: World): true | number {
  const { join, rules } = world;
  if (join === null || join.phase === 'open') return 0;
  const donor = regionAt(world, join.donor);
  if (join.phase === 'counted') {
    const isOver = join.looks.every(({ waitsFor }, id) =>
      waitsFor.every((xid) => regionAt(world, id).open.every((one) => one.xid !== xid)),
    );
    return isOver ? true : 0;
  }
  if (join.phase === 'slots') {
    const applied = new Map([...donor.positions].map(([region, at]) => [region, BigInt(at)]));
    return rules.hasPassed(join.points, applied) ? true : 0;
  }
  if (join.phase === 'copied')
    return rules.joinerWaitsForOwnReader && donor.ownPosition < join.copiedAt ? 0 : true;
  if (join.phase !== 'read' || !rules.joinerWaitsForClock) return true;
  const lack = rules.clockLack(clockOf(world, regionAt(world, join.newcomer)), join.horizonUs);
  return lack > 0 ? lack : true;
}

export function takeJoinStep(world: World): void {
  const { join, rules } = world;
  if (join === null) return;
  const others = world.regions.filter(({ id }) => id !== join.newcomer);
  const donor = regionAt(world, join.donor);
  const newcomer = regionAt(world, join.newcomer);
  if (join.phase === 'alone') {
    if (rules.countsNewcomer) for (const region of others) region.members.push(newcomer.id);
    join.looks = others.map((region) => ({
      timeUs: clockOf(world, region),
      waitsFor: region.open.map(({ xid }) => xid),
    }));
    world.now++;
    join.phase = 'counted';
  } else if (join.phase === 'counted') {
    join.points = new Map(
      others.filter((one) => one !== donor).map(({ id, log: entries }) => [id, BigInt(entries.length)]),
    );
    join.phase = 'slots';
  } else if (join.phase === 'slots') {
    join.positions = positionsOf(donor, join);
    join.phase = 'positions';
  } else if (join.phase === 'positions') {
    copyRows(world, join, donor, newcomer);
    join.phase = 'copied';
  } else if (join.phase === 'copied') {
    readNotes(world, join, donor, newcomer);
    join.phase = 'read';
  } else {
    open(world, join, donor, newcomer);
    join.phase = 'open';
  }
}

/** Where a slot begins later than the donor is, nothing of before comes. */
function positionsOf(donor: RegionState, { points }: JoinState): Map<number, number> {
  return new Map(
    [...points].map(([id, point]) => [id, Math.max(donor.positions.get(id) ?? 0, Number(point))]),
  );
}

/** In one transaction, as the slot's exported snapshot has it: with what is in the log and not to be seen yet. */
function copyRows(world: World, join: JoinState, donor: RegionState, newcomer: RegionState): void {
  const { rules } = world;
  const settledUs = Math.min(...join.looks.map(({ timeUs }) => timeUs));
  const stampUs = clockOf(world, donor);
  const xid = newcomer.nextXid++;
  newcomer.transactions.set(xid, { timeUs: stampUs, isApplied: true });
  const view = rules.copiesExportedSnapshot ? withLogged(donor) : donor;
  const keepsAll = world.hasUniqueValues && rules.keepsRecordsOfUnique;
  for (const [key, { row }] of view.rows) {
    newcomer.rows.set(key, { row, xid });
    const present = presentRow(world, view, key);
    const version =
      present === null ? null : rules.versionToNote(present, { donor: donor.id, settledUs, keepsAll });
    if (version === null) continue;
    note(newcomer, key, version, stampUs);
    newcomer.shown.set(key, version);
  }
  for (const [key, one] of donor.aside) newcomer.aside.set(key, one);
  log(newcomer, stampUs, true, []);
  join.copiedAt = donor.log.length;
  join.tombstones = new Map(donor.tombstones);
}

function withLogged(donor: RegionState): RegionState {
  const rows = new Map(donor.rows);
  for (const { state, changes, xid } of donor.open) {
    if (state !== 'logged') continue;
    for (const { kind, key, row } of changes) {
      if (kind === 'truncate') rows.clear();
      else if (row === null) rows.delete(key);
      else rows.set(key, { row, xid });
    }
  }
  return { ...donor, rows };
}

/** With what the donor's own reader has noted of all that was copied. */
function readNotes(world: World, join: JoinState, donor: RegionState, newcomer: RegionState): void {
  const { rules } = world;
  const tombstones = rules.joinerWaitsForOwnReader ? donor.tombstones : join.tombstones;
  for (const [key, version] of tombstones) newcomer.tombstones.set(key, version);
  for (const [key, { base, operations }] of donor.journal)
    newcomer.journal.set(key, { base, operations: [...operations] });
  newcomer.conflicts.push(...donor.conflicts);
  join.horizonUs = Math.max(clockOf(world, donor), ...join.looks.map(({ timeUs }) => timeUs));
}

function open(world: World, join: JoinState, donor: RegionState, newcomer: RegionState): void {
  const positions = world.rules.joinerStartsAt === 'as-copied' ? join.positions : positionsOf(donor, join);
  for (const [id, position] of positions) newcomer.positions.set(id, position);
  newcomer.positions.set(donor.id, join.copiedAt);
  newcomer.members.push(...world.regions.map(({ id }) => id));
  for (const region of world.regions)
    if (!region.members.includes(newcomer.id)) region.members.push(newcomer.id);
  newcomer.isOpen = true;
}

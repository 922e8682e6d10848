import { laterVersion } from '../../../src/multi-leader/core/version.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { clockOf, linkId, log, presentRow, regionAt, TABLE, WHOLE_TABLE } from './world.ts';
import type { RegionState, World } from './world.ts';

/** Nobody else may work on the table: PostgreSQL locks all of it. */
export function mayTruncate(world: World, region: RegionState): boolean {
  return (
    region.locks.size === 0 && world.regions.every((from) => !world.applying.has(linkId(from.id, region.id)))
  );
}

/** The version of the TRUNCATE that is next in `from`'s log for `to`; null when something else is. */
export function nextTruncate(from: RegionState, to: RegionState): Version | null {
  const entry = from.log[to.positions.get(from.id) ?? 0];
  if (entry === undefined || entry.isApplied || entry.changes[0]?.kind !== 'truncate') return null;
  return { timeUs: entry.timeUs, region: from.id, lsn: BigInt(entry.lsn) };
}

/** True when it may be applied, else how much time its clock lacks; 0 where a row is held. */
export function mayEmpty(world: World, to: RegionState, version: Version): true | number {
  const lack = world.rules.clockLack(clockOf(world, to), version.timeUs);
  if (lack > 0) return lack;
  const isHeld = [...to.rows.keys(), WHOLE_TABLE].some((key) => to.locks.has(key));
  return isHeld || world.regions.some((from) => world.applying.has(linkId(from.id, to.id))) ? 0 : true;
}

/** As the shipped `applyEmptying`, in one step: rows that are not visible yet are passed by. */
export function empty(world: World, fromId: number, toId: number): void {
  const { rules } = world;
  const to = regionAt(world, toId);
  const version = nextTruncate(regionAt(world, fromId), to);
  if (version === null) return;
  for (const key of to.rows.keys()) {
    const row = presentRow(world, to, key);
    if (row === null) continue;
    const change = { kind: 'delete', table: TABLE, key, version, row: null } as const;
    const isOlder =
      rules.deletesBlindly ||
      rules.isSurelyOlder(row.committedUs, version) ||
      rules.decide(change, row, toId).kind === 'delete';
    if (isOlder) to.rows.delete(key);
  }
  if (rules.truncateLeavesTombstone)
    to.tombstones.set(WHOLE_TABLE, laterVersion(to.tombstones.get(WHOLE_TABLE), version));
  log(to, version.timeUs, true, []);
  to.positions.set(fromId, (to.positions.get(fromId) ?? 0) + 1);
}

/** Whether the tombstone of the table could be forgotten; false while a row is held that it may speak of. */
export function forgetTruncate(world: World, region: RegionState, limitUs: number): boolean {
  const { rules } = world;
  const version = region.tombstones.get(WHOLE_TABLE);
  if (version === undefined || version.timeUs >= limitUs) return true;
  const keys = rules.probesTable ? [...region.rows.keys()] : [];
  if (keys.some((key) => region.locks.has(key))) return false;
  for (const key of keys) {
    const row = presentRow(world, region, key);
    if (row === null || rules.judgeTombstone(version, row, limitUs, region.id) !== 'delete-row') continue;
    region.rows.delete(key);
    world.repaired++;
  }
  region.tombstones.delete(WHOLE_TABLE);
  return true;
}

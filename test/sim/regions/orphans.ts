import type { Change } from '../../../src/multi-leader/core/change.ts';
import { lowestOf } from './local-steps.ts';
import { committedUs, isEarlier, regionAt, writeAtOnce } from './world.ts';
import type { LogEntry, LoggedChange, RegionState, Row, World } from './world.ts';

/** Of a row of key c… the key of its parent; null of a parent, and where there are none. */
function parentOf(world: World, key: string, row: Row | null): string | null {
  return world.orphanRule === null || !key.startsWith('c') ? null : (row?.[0] ?? null);
}

/** What a foreign key locks for who writes the row: its parent. */
export function parentLocks(world: World, key: string, row: Row | null): string[] {
  const parent = parentOf(world, key, row);
  return parent === null ? [] : [parent];
}

/** What a foreign key refuses who writes here; `own`: what the transaction has done before. */
export function breaksReference(
  world: World,
  region: RegionState,
  { kind, key, row }: LoggedChange,
  own: readonly LoggedChange[],
): boolean {
  const parent = parentOf(world, key, row);
  if (parent !== null) {
    const isHeld = region.locks.has(parent);
    const isHere = own.findLast((change) => change.key === parent)?.kind ?? region.rows.has(parent);
    return isHeld || isHere === false || isHere === 'delete';
  }
  if (kind !== 'delete') return false;
  return world.keys.some((child) => {
    const now = own.findLast((change) => change.key === child)?.row ?? region.rows.get(child)?.row ?? null;
    return parentOf(world, child, now) === key;
  });
}

/** The own reader keeps which parents were deleted here. */
export function keepRemoved(world: World, region: RegionState, { timeUs, lsn, changes }: LogEntry): void {
  if (world.orphanRule === null) return;
  for (const { kind, key, old } of changes) {
    if (kind !== 'delete' || key.startsWith('c')) continue;
    const version = { timeUs, region: region.id, lsn: BigInt(lsn) };
    const known = region.removed.get(key);
    if (known === undefined || isEarlier(known.version, version))
      region.removed.set(key, { version, row: world.rules.keepsImages ? old : null });
  }
}

/** Whether a local transaction holds a parent of a batch's rows. */
export function parentsAreHeld(world: World, to: RegionState, changes: readonly Change<Row>[]): boolean {
  if (!world.rules.locksParents) return false;
  return changes.some(({ key, row }) =>
    parentLocks(world, key, row).some((lock) => to.locks.get(lock)?.startsWith('x') === true),
  );
}

/** As the shipped `noteOrphans`, at the end of a batch. */
export function noteOrphans(world: World, to: RegionState, changes: readonly Change<Row>[]): void {
  for (const { kind, key, version } of changes) {
    const removed = to.removed.get(key);
    if (kind === 'delete' && removed !== undefined && isEarlier(removed.version, version))
      to.removed.delete(key);
    const parent = parentOf(world, key, to.rows.get(key)?.row ?? null);
    if (parent !== null && !to.rows.has(parent)) to.orphans.add(key);
  }
}

function verdictOn(world: World, region: RegionState, key: string): 'over' | 'wait' | 'act' {
  const here = region.rows.get(key);
  const parent = parentOf(world, key, here?.row ?? null);
  if (here === undefined || parent === null) return 'over';
  const removed = region.removed.get(parent);
  const verdict = world.rules.judgeOrphan(
    {
      committedUs: committedUs(region, here.xid),
      hasParent: region.rows.has(parent),
      isParentAside: false,
      removed: removed?.version ?? null,
    },
    lowestOf(world, region) ?? -1,
  );
  const isUnknown = world.orphanRule === 'restore-parent' && (removed?.row ?? null) === null;
  return verdict === 'act' && isUnknown ? 'wait' : verdict;
}

/** Rows without their parent about which something can be decided. */
export function judgeableOrphans(world: World, region: RegionState): string[] {
  return [...region.orphans].filter((key) => {
    const locks = [key, ...parentLocks(world, key, region.rows.get(key)?.row ?? null)];
    return !locks.some((lock) => region.locks.has(lock)) && verdictOn(world, region, key) !== 'wait';
  });
}

/** As the shipped `OrphanJudge`: what it decides is a local change like any other. */
export function judge(world: World, id: number, key: string): void {
  const region = regionAt(world, id);
  const row = region.rows.get(key)?.row ?? null;
  const parent = parentOf(world, key, row);
  const verdict = verdictOn(world, region, key);
  region.orphans.delete(key);
  if (verdict !== 'act' || parent === null) return;
  if (isOnItsWay(world, region, parent, key))
    world.violations.push(`region ${id} decided about ${key} while its parent was on its way`);
  if (world.orphanRule === 'delete-orphan')
    writeAtOnce(world, region, { kind: 'delete', key, old: row, row: null });
  else {
    const restored = region.removed.get(parent)?.row ?? null;
    region.removed.delete(parent);
    writeAtOnce(world, region, { kind: 'put', key: parent, old: null, row: restored });
  }
}

/** A write of the parent that came before the row's, and was not delivered here yet. */
function isOnItsWay(world: World, region: RegionState, parent: string, child: string): boolean {
  const written = region.shown.get(child)?.timeUs ?? 0;
  return world.regions.some((from) =>
    from === region
      ? false
      : from.log
          .slice(region.positions.get(from.id) ?? 0)
          .some(
            ({ isApplied, timeUs, changes }) =>
              !isApplied &&
              timeUs < written &&
              changes.some(({ kind, key }) => kind === 'put' && key === parent),
          ),
  );
}

/** Rows whose parent is not there. */
export function findOrphans(world: World, region: RegionState): string[] {
  return [...region.rows]
    .filter(([key, { row }]) => {
      const parent = parentOf(world, key, row);
      return parent !== null && !region.rows.has(parent);
    })
    .map(([key]) => key);
}

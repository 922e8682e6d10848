import { formatRecord, isSameImage } from '../../../src/multi-leader/core/image.ts';
import type { Operation } from '../../../src/multi-leader/core/merge.ts';
import { COLUMN_RULES, regionAt, writeAtOnce } from './world.ts';
import type { RegionState, Row, World } from './world.ts';

interface Folded {
  readonly key: string;
  readonly base: Row | null;
  readonly operations: readonly Operation[];
}

/** As the shipped function of this name. */
export function noteDecisions(world: World, region: RegionState, { key, base, operations }: Folded): void {
  const { priorities, rules } = world;
  if (priorities === null || operations.length === 0) return;
  if (!rules.isReferee(key, world.regions.length, region.id)) return;
  const { known, carriedOut, pending } = region.priority;
  const before = known.get(key);
  const carried = rules.remembersCarriedOut ? carriedOut.get(key) : undefined;
  const isCarried = ({ version, row }: Operation): boolean =>
    version.region === region.id &&
    row !== null &&
    carried !== undefined &&
    formatRecord(row) === formatRecord(carried.row);
  const { settled, decided, writers } = rules.refereeByPriority(
    before === undefined
      ? { settled: base, decided: base }
      : { settled: base, decided: before.isOpen ? before.decided : base, writers: before.writers },
    operations,
    COLUMN_RULES,
    priorities,
    (operation) => (isCarried(operation) ? carried?.writers : undefined),
  );
  const isOpen = !isSameImage(settled, decided);
  known.set(key, { writers, isOpen, decided });
  if (isOpen) pending.push({ key, settled, decided, writers });
}

/** Rows about which something is decided: nobody holds them. */
export function decidedKeys(region: RegionState): string[] {
  return [...new Set(region.priority.pending.map(({ key }) => key))].filter((key) => !region.locks.has(key));
}

/** As the shipped `carryOutDecisions`, of one row. */
export function carryOut(world: World, id: number, key: string): void {
  const region = regionAt(world, id);
  const { pending, carriedOut } = region.priority;
  const index = pending.findIndex((one) => one.key === key);
  const [decision] = pending.splice(index, 1);
  if (index === -1 || decision === undefined) return;
  const here = region.rows.get(key)?.row ?? null;
  const wanted = world.rules.putOnTop(here, decision.settled, decision.decided);
  if (isSameImage(wanted, here)) return;
  if (wanted !== null && here !== null && wanted[2] !== here[2])
    world.violations.push(`region ${id} decided about the count of ${key}`);
  writeAtOnce(world, region, { kind: wanted === null ? 'delete' : 'put', key, old: here, row: wanted });
  if (wanted !== null) carriedOut.set(key, { row: wanted, writers: decision.writers });
}

interface Write {
  readonly region: number;
  readonly lsn: number;
  readonly known: readonly number[];
  readonly value: string | null;
}

/**
 * Where each region wrote the first column at most once, and nobody deleted the row, which is decided as a whole: that of the first region
 * among them must stand in the end, unless somebody who wrote had seen it.
 */
export function findWrongPriorities(world: World): string[] {
  const ranks = world.priorities?.[0] ?? null;
  if (ranks === null) return [];
  return world.keys.flatMap((key) => {
    const writes = writesOf(world, key);
    const isOnce = new Set(writes.map(({ region }) => region)).size === writes.length;
    const isWhole = writes.some(({ value }) => value === null);
    if (!isOnce || isWhole || writes.length === 0) return [];
    const [first] = writes.toSorted((a, b) => ranks.indexOf(a.region) - ranks.indexOf(b.region));
    if (first === undefined) return [];
    const isSeen = writes.some((other) => other !== first && (other.known[first.region] ?? 0) >= first.lsn);
    const here = world.regions[0]?.rows.get(key)?.row[0] ?? null;
    return isSeen || here === first.value
      ? []
      : [`${key} has ${here}, and not ${first.value} of the first region, which nobody had seen`];
  });
}

/** What people wrote into the first column. */
function writesOf(world: World, key: string): Write[] {
  return world.regions.flatMap(({ id, log }) =>
    log.flatMap(({ lsn, known, changes }) =>
      changes
        .filter((change) => change.key === key && known !== null && change.old?.[0] !== change.row?.[0])
        .map(({ row }) => ({ region: id, lsn, known: known ?? [], value: row?.[0] ?? null })),
    ),
  );
}

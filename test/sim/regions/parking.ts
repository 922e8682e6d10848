import type { Change } from '../../../src/multi-leader/core/change.ts';
import type { BatchNotes } from '../../../src/multi-leader/core/batch-record.ts';
import { versionOf } from '../../../src/multi-leader/core/row-rule.ts';
import type { MissingRow } from '../../../src/multi-leader/core/row-rule.ts';
import { compareVersions, laterVersion } from '../../../src/multi-leader/core/version.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { clockOf, log, note, presentRow, TABLE, tombstoneFor } from './world.ts';
import type { Applying, RegionState, Row, World } from './world.ts';

/** Of rows in a world with unique values, the first column is unique. */
function valueOf(row: Row | null): string | null {
  return row?.[0] ?? null;
}

const SETTLED: Version = { timeUs: 0, region: 0, lsn: 0n };

/** Other rows that are to be seen and hold the row's value. */
export function holdersOf(region: RegionState, key: string, row: Row | null): string[] {
  const value = valueOf(row);
  if (value === null) return [];
  return [...region.rows]
    .filter(([other, held]) => other !== key && valueOf(held.row) === value)
    .map(([k]) => k);
}

/** What the index locks for who writes the row: its value, and whoever holds it. */
export function locksFor(world: World, region: RegionState, key: string, row: Row | null): string[] {
  const value = valueOf(row);
  return !world.hasUniqueValues || value === null ? [] : [`=${value}`, ...holdersOf(region, key, row)];
}

/** What a transaction that places rows has put in, which shows no commit time yet. */
interface Placing {
  readonly world: World;
  readonly region: RegionState;
  readonly xid: number;
  readonly placed: Map<string, Version>;
}

/** As the shipped `Parking.place`; true when the row stands. */
function place({ world, region, xid, placed }: Placing, key: string, row: Row, version: Version): boolean {
  const holders = holdersOf(region, key, row);
  const versions = holders.map((holder) => {
    const there = presentRow(world, region, holder);
    return placed.get(holder) ?? (there === null ? null : versionOf(there, region.id)) ?? SETTLED;
  });
  const { whoLoses } = world.rules;
  if (whoLoses === 'is-refused' && holders.length > 0) return false;
  if (!world.rules.mayTakeValues(version, versions)) {
    region.rows.delete(key);
    if (whoLoses !== 'is-dropped') region.aside.set(key, { row, version });
    return false;
  }
  holders.forEach((holder, index) => {
    const held = region.rows.get(holder);
    region.rows.delete(holder);
    if (held !== undefined && whoLoses !== 'is-dropped')
      region.aside.set(holder, { row: held.row, version: versions[index] ?? SETTLED });
  });
  region.rows.set(key, { row, xid });
  placed.set(key, version);
  region.aside.delete(key);
  return true;
}

/** Whether a batch meets a value that is taken, which rolls it back and applies it again one by one. */
export function meetsTakenValue(region: RegionState, changes: readonly Change<Row>[]): boolean {
  const values = changes.map(({ row }) => valueOf(row)).filter((value) => value !== null);
  return (
    new Set(values).size < values.length ||
    changes.some(({ key, row }) => holdersOf(region, key, row).length > 0)
  );
}

/** A batch's changes one by one, in the order of their versions: as the shipped `applyCarefully`. */
export function commitCarefully(
  world: World,
  region: RegionState,
  batch: Applying,
  { notes, xid }: { readonly notes: BatchNotes; readonly xid: number },
): void {
  const { rules } = world;
  const placing: Placing = { world, region, xid, placed: new Map() };
  const aside = new Map([...region.aside].map(([key, { version }]) => [key, version]));
  const inserted: Change<Row>[] = [];
  for (const change of batch.changes.toSorted((a, b) => compareVersions(a.version, b.version))) {
    const { key, version } = change;
    const row = presentRow(world, region, key);
    const missing: MissingRow = {
      kind: 'missing',
      tombstone: rules.asideCounts ? (aside.get(key) ?? null) : null,
    };
    const decision = rules.decide(change, row ?? missing, region.id);
    world.decisions++;
    if (decision.kind === 'delete') region.rows.delete(key);
    if (decision.kind === 'delete' || decision.kind === 'bury') notes.delete(change);
    if (decision.kind !== 'put') continue;
    const stands = place(placing, key, change.row ?? [], version);
    if (!stands) notes.see(version.timeUs);
    else if (row === null) inserted.push(change);
    else notes.put(change, version);
  }
  for (const change of inserted) {
    const tombstone = tombstoneOf(world, region, change.key);
    if (rules.decide(change, { kind: 'missing', tombstone }, region.id).kind === 'put')
      notes.put(change, change.version);
    else region.rows.delete(change.key);
  }
}

/** The latest of its tombstone and of the version at which it stands aside. */
export function tombstoneOf(world: World, region: RegionState, key: string): Version | null {
  const tombstone = tombstoneFor(region, key);
  const aside = world.rules.asideCounts ? region.aside.get(key)?.version : undefined;
  return aside === undefined ? tombstone : laterVersion(tombstone, aside);
}

/**
 * Looks at the rows that are aside, the latest first, as the shipped `bringBackParked`. Returns what commits it, which is
 * to be called before anything else is judged.
 */
export function bringBack(world: World, region: RegionState): () => void {
  const { rules } = world;
  const xid = region.nextXid++;
  const placing: Placing = { world, region, xid, placed: new Map() };
  const rows = [...region.aside].toSorted(([, a], [, b]) => compareVersions(b.version, a.version));
  for (const [key, { row, version }] of rules.looksAtAllAside ? rows : rows.slice(0, 1)) {
    const isBusy = [key, ...locksFor(world, region, key, row)].some((lock) => region.locks.has(lock));
    const tombstone = tombstoneFor(region, key);
    if (rules.judgeAside(version, presentRow(world, region, key), tombstone, region.id) === 'forget')
      region.aside.delete(key);
    else if (!isBusy && rules.bringsBack) place(placing, key, row, version);
  }
  return () => {
    if (placing.placed.size === 0) return;
    const notes = rules.createNotes(0);
    for (const [key, version] of placing.placed) notes.put({ table: TABLE, key }, version);
    const stamp = Math.max(clockOf(world, region), notes.commitTimeUs);
    world.now++;
    region.transactions.set(xid, { timeUs: stamp, isApplied: true });
    for (const { key, version } of notes.records) note(region, key, version, stamp);
    log(region, stamp, true, []);
  };
}

/** Which rows stand where each claims a value: the later ones. `rows` with their versions. */
export function standingRows(
  rows: readonly { readonly key: string; readonly row: Row; readonly version: Version }[],
): ReadonlyMap<string, Row> {
  const standing = new Map<string, Row>();
  const taken = new Set<string>();
  for (const { key, row } of rows.toSorted((a, b) => compareVersions(b.version, a.version))) {
    const value = valueOf(row);
    if (value !== null && taken.has(value)) continue;
    if (value !== null) taken.add(value);
    standing.set(key, row);
  }
  return standing;
}

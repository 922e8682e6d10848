import { applyOperation, orderOperations, replay } from '../../../src/multi-leader/core/merge.ts';
import type { Operation } from '../../../src/multi-leader/core/merge.ts';
import { isSameImage } from '../../../src/multi-leader/core/image.ts';
import type { Image } from '../../../src/multi-leader/core/image.ts';
import { laterVersion } from '../../../src/multi-leader/core/version.ts';
import { noteDecisions } from './priority.ts';
import { noteOpenConflicts } from './resolving.ts';
import { COLUMN_RULES, isEarlier } from './world.ts';
import type { Applying, RegionState, World } from './world.ts';

/** Notes an operation; `base` is what stood there before the first that is noted. */
export function enterOperation(
  region: RegionState,
  key: string,
  base: Image | null,
  operation: Operation,
): readonly Operation[] {
  let journal = region.journal.get(key);
  if (journal === undefined) region.journal.set(key, (journal = { base, operations: [] }));
  journal.operations = orderOperations([...journal.operations, operation]);
  return journal.operations;
}

/** Enters a batch's operations into the journal, and leaves in each row what replaying it gives. */
export function commitOperations(world: World, to: RegionState, batch: Applying, xid: number): void {
  for (const { key, operation } of batch.operations) {
    const current = to.rows.get(key)?.row ?? null;
    const base = batch.isPresent.get(key) === true ? current : null;
    const operations = enterOperation(to, key, base, operation);
    world.decisions++;
    to.shown.set(key, laterVersion(to.shown.get(key), operation.version));
    if (!batch.locked.includes(key)) continue;
    const journal = to.journal.get(key);
    const row = world.rules.mergesInOrder
      ? replay(journal?.base ?? null, operations, COLUMN_RULES)
      : mergeOnArrival(current, operation, operations);
    if (row === null) to.rows.delete(key);
    else to.rows.set(key, { row, xid });
  }
}

/** A mutant's way: nothing is replayed; differences are added as they come, and columns by their last write. */
function mergeOnArrival(
  current: Image | null,
  operation: Operation,
  operations: readonly Operation[],
): Image | null {
  const newer = operations.filter(({ version }) => isEarlier(operation.version, version));
  if (newer.length === 0) return applyOperation(current, operation, COLUMN_RULES);
  if (operation.old === null || operation.row === null || current === null) return current;
  const merged = applyOperation(current, operation, COLUMN_RULES);
  return current.map((value, column) =>
    COLUMN_RULES[column] === 'counter' || newer.every(({ old, row }) => old?.[column] === row?.[column])
      ? (merged?.[column] ?? null)
      : value,
  );
}

/** Folds what nothing can come before any more, and puts right a row that a delete passed by. */
export function settle(world: World, region: RegionState, lowestUs: number): void {
  for (const [key, journal] of region.journal) {
    if (region.locks.has(key)) continue;
    const here = region.rows.get(key)?.row ?? null;
    const wanted = replay(journal.base, journal.operations, COLUMN_RULES);
    const isOwnRead = region.ownPosition >= region.log.length;
    if (world.rules.probesBeforePruning && isOwnRead && !isSameImage(wanted, here)) {
      world.repaired++;
      const last = journal.operations.at(-1)?.version.timeUs ?? 0;
      const xid = region.nextXid++;
      region.transactions.set(xid, { timeUs: last, isApplied: true });
      if (wanted === null) region.rows.delete(key);
      else region.rows.set(key, { row: wanted, xid });
    }
    const settled = world.rules.settle(journal.base, journal.operations, lowestUs, COLUMN_RULES);
    region.conflicts.push(...settled.conflicts);
    const folded = journal.operations.slice(0, journal.operations.length - settled.rest.length);
    noteOpenConflicts(world, region, { key, base: journal.base, operations: folded });
    noteDecisions(world, region, { key, base: journal.base, operations: folded });
    journal.base = settled.base;
    journal.operations = [...settled.rest];
    if (settled.rest.length === 0) region.journal.delete(key);
  }
}

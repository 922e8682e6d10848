import { isSameImage } from './image.ts';
import type { Image } from './image.ts';
import { applyOperation } from './merge.ts';
import type { ColumnRule, Operation } from './merge.ts';

/**
 * The region that decides about a row's conflicts, one of those that are there: every region names the same one, and no two
 * decide about one row. Throws RangeError without any.
 */
export function refereeOf(key: string, regions: readonly number[]): number {
  let hash = 2_166_136_261;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 16_777_619) >>> 0;
  const referee = regions[hash % regions.length];
  if (referee === undefined) throw new RangeError('there is no region to decide');
  return referee;
}

/** What a table's columns go by: the rank of each region, the first one wins; null for a column that has none. */
export type Priorities = readonly (readonly number[] | null)[];

/** A row once everything below a time is known: as the last writes left it, and as the regions' priority has it. */
export interface RefereedRow {
  readonly settled: Image | null;
  readonly decided: Image | null;
  /** Whose write of each column stands; null where that is not known any more. */
  readonly writers: readonly (number | null)[];
}

/**
 * Goes through a row's operations in the order of their versions. A write whose writer had not seen the one before it
 * loses to that of a region with a better rank, column by column; one that had seen it is no conflict, whoever wrote.
 * `start`: what going through those before has left, decided and not carried out yet too. `writersOf`: whose values an operation carries, of one that a
 * referee wrote to carry out what it decided.
 */
export function refereeByPriority(
  start: Omit<RefereedRow, 'writers'> & { readonly writers?: RefereedRow['writers'] },
  operations: readonly Operation[],
  rules: readonly ColumnRule[],
  priorities: Priorities,
  writersOf: (operation: Operation) => readonly (number | null)[] | undefined = () => undefined,
): RefereedRow {
  let { settled, decided } = start;
  let writers = priorities.map((_, column) => start.writers?.[column] ?? null);
  for (const operation of operations) {
    const carried = writersOf(operation);
    const writerIn = (column: number): number => carried?.[column] ?? operation.version.region;
    const merged = applyOperation(decided, operation, rules);
    // Who has seen the last writes has not seen what is decided otherwise only now.
    const stands = decided;
    const hadSeen = (column: number): boolean => valueOf(operation.old, column) === valueOf(stands, column);
    const isBetter = (column: number): boolean => {
      const [ranks, writer] = [priorities[column] ?? null, writers[column] ?? null];
      return ranks !== null && writer !== null && rankOf(ranks, writer) < rankOf(ranks, writerIn(column));
    };
    // What a referee writes is no write of somebody who has seen what is there: it stands by whose values it has.
    const loses = (column: number): boolean =>
      (carried !== undefined || !hadSeen(column)) && isBetter(column);
    const changes = (column: number): boolean =>
      valueOf(operation.old, column) !== valueOf(operation.row, column);
    const isWhole = operation.row === null || operation.old === null || decided === null;
    if (isWhole) {
      // The row as one: a delete, or an insert, takes all columns or none.
      const keepsRow = priorities.some((_, column) => loses(column)) && !isSameImage(operation.old, stands);
      if (!keepsRow) {
        decided = merged;
        writers = writers.map((_, column) => writerIn(column));
      }
    } else {
      const before = decided;
      decided =
        merged === null
          ? null
          : merged.map((value, column) =>
              changes(column) && loses(column) ? (before?.[column] ?? null) : value,
            );
      writers = writers.map((writer, column) =>
        changes(column) && !loses(column) ? writerIn(column) : writer,
      );
    }
    settled = applyOperation(settled, operation, rules);
    decided = withMergedOf(settled, decided, rules);
  }
  return { settled, decided, writers };
}

/** Columns with a rule of their own stay what that makes of them: no region's write of a counter stands alone. */
function withMergedOf(
  settled: Image | null,
  decided: Image | null,
  rules: readonly ColumnRule[],
): Image | null {
  if (settled === null || decided === null) return decided;
  return decided.map((value, column) =>
    (rules[column] ?? 'last') === 'last' ? value : (settled[column] ?? null),
  );
}

/** What was decided, on top of what was written since; a row that was deleted or written anew since stays as it is. */
export function putOnTop(here: Image | null, settled: Image | null, decided: Image | null): Image | null {
  if (isSameImage(here, settled)) return decided;
  if (here === null || settled === null || decided === null) return here;
  const version = { timeUs: 0, region: 0, lsn: 0n };
  return applyOperation(here, { version, old: settled, row: decided }, []);
}

function rankOf(ranks: readonly number[], region: number): number {
  const rank = ranks.indexOf(region);
  return rank === -1 ? ranks.length : rank;
}

/** A row that is not there differs from each that is, in every column. */
function valueOf(image: Image | null, column: number): string | null | undefined {
  return image === null ? undefined : (image[column] ?? null);
}

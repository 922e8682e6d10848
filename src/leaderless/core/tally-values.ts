import type { CellMap, Tally } from './cells.ts';
import { piecesIn, talliesOf } from './cart.ts';

/** The elements of an add-wins set as they are kept, the one that was put in first before the others. */
export function readSet(cells: CellMap): readonly string[] {
  const born = new Map<string, number>();
  for (const tally of talliesOf(cells)) {
    if (piecesIn(tally) === 0) continue;
    born.set(tally.item, Math.min(born.get(tally.item) ?? tally.bornAt, tally.bornAt));
  }
  return [...born].toSorted(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)).map(([item]) => item);
}

/** The item that counts what was added to a counter, and the one that counts what was taken off. */
export type CounterSide = 'up' | 'down';

/** A counter's value: what all actors added, less what they took off. */
export function readCounter(cells: CellMap): number {
  let total = 0;
  for (const tally of talliesOf(cells)) total += tally.item === 'up' ? piecesIn(tally) : -piecesIn(tally);
  return total;
}

/** How much of the key was seen: the sum of all that was ever added and taken out grows with every change. */
export function versionOfTallies(cells: CellMap): string | null {
  const tallies: readonly Tally[] = talliesOf(cells);
  if (tallies.length === 0) return null;
  const changes = tallies.reduce((sum, { added, removed }) => sum + added + removed, 0);
  const newest = tallies.reduce((latest, { bornAt }) => Math.max(latest, bornAt), 0);
  return `${changes}.${newest}`;
}

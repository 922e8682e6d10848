import type { CellMap, Tally } from './cells.ts';

/** What identifies a product: kept as JSON, so that 7 and "7" are two. */
export type Sku = string | number;

export interface CartLine {
  readonly sku: Sku;
  readonly quantity: number;
}

/** The pieces of one tally that were not taken out. A removal may be known before the add that it covers. */
export function piecesIn(tally: Tally): number {
  return Math.max(0, tally.added - tally.removed);
}

export function talliesOf(cells: CellMap): readonly Tally[] {
  return [...cells.values()].filter((cell) => cell.store === 'tallies');
}

/** The lines of a cart, the one that was put in first before the others. */
export function readCart(cells: CellMap): readonly CartLine[] {
  const lines = new Map<string, { quantity: number; bornAt: number }>();
  for (const tally of talliesOf(cells)) {
    const pieces = piecesIn(tally);
    if (pieces === 0) continue;
    const line = lines.get(tally.item) ?? { quantity: 0, bornAt: tally.bornAt };
    line.quantity += pieces;
    line.bornAt = Math.min(line.bornAt, tally.bornAt);
    lines.set(tally.item, line);
  }
  return [...lines]
    .toSorted(([a, x], [b, y]) => x.bornAt - y.bornAt || (a < b ? -1 : 1))
    .map(([item, { quantity }]) => ({ sku: JSON.parse(item) as Sku, quantity }));
}

/** The tallies that take everything out that is seen, of one item or of all. */
export function takeOut(cells: CellMap, item: string | null): readonly Tally[] {
  return talliesOf(cells)
    .filter((tally) => (item === null || tally.item === item) && piecesIn(tally) > 0)
    .map((tally) => ({ ...tally, removed: tally.added }));
}

/**
 * What brings an item to `quantity` from what is seen: taken out of the tallies in a fixed order, so that two who ask for the same
 * at once take out the same pieces; or `missing`, which one actor has to add.
 */
export function bringTo(
  cells: CellMap,
  item: string,
  quantity: number,
): { readonly tallies: readonly Tally[]; readonly missing: number } {
  const seen = talliesOf(cells)
    .filter((tally) => tally.item === item && piecesIn(tally) > 0)
    .toSorted((a, b) => b.bornAt - a.bornAt || (a.actor < b.actor ? -1 : 1));
  let surplus = seen.reduce((sum, tally) => sum + piecesIn(tally), 0) - quantity;
  if (surplus <= 0) return { tallies: [], missing: -surplus };
  const tallies: Tally[] = [];
  for (const tally of seen) {
    const pieces = Math.min(surplus, piecesIn(tally));
    if (pieces === 0) break;
    tallies.push({ ...tally, removed: Math.max(tally.removed, 0) + pieces });
    surplus -= pieces;
  }
  return { tallies, missing: 0 };
}

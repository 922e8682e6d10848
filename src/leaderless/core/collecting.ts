import { hlcOfMs, msOfHlc } from './hlc.ts';
import { cellId } from './cells.ts';
import type { Cell } from './cells.ts';

/**
 * When what was deleted may be forgotten. Below its `sealed` time a node takes nothing new; below its `floor` it has forgotten
 * tombstones, so that a cell which it does not have is an old state of one of those. A server does all this in SQL
 * (nodes/schema.ts); the rules on single cells are called by the simulation's node, which `sql-rules.test.ts` compares with a
 * server.
 */
export interface Watermarks {
  readonly sealed: number;
  readonly floor: number;
}

/** When the cell came into being: what came before a node's seal can only be a repetition. */
export function timeOf(cell: Cell): number {
  return cell.store === 'registers' ? cell.at : cell.bornAt;
}

/** Nothing of the cell is shown any more, nor can it be again unless somebody writes anew. */
export function isForgettable(cell: Cell, floor: number): boolean {
  if (timeOf(cell) > floor) return false;
  if (cell.store === 'tallies') return cell.removed >= cell.added;
  return cell.value === null || (cell.expiresAtMs !== null && cell.expiresAtMs <= msOfHlc(floor));
}

/** An old state of a cell that the node has forgotten: it is dropped. */
export function isForgotten(cell: Cell, known: Cell | undefined, floor: number): boolean {
  return known === undefined && timeOf(cell) <= floor;
}

/**
 * A caller's own write that comes after the seal of its time: others may have forgotten already what it would bring back. What
 * takes pieces out of a tally was read somewhere, and is as good as a repair.
 */
export function isTooLate(cell: Cell, known: Cell | undefined, sealed: number): boolean {
  if (timeOf(cell) > sealed) return false;
  if (cell.store === 'registers') return known?.store !== 'registers' || isOlder(known, cell);
  return cell.removed === 0 && (known?.store !== 'tallies' || known.added < cell.added);
}

function isOlder(
  known: { readonly at: number; readonly writer: string },
  cell: { readonly at: number; readonly writer: string },
): boolean {
  return known.at < cell.at || (known.at === cell.at && known.writer < cell.writer);
}

/** The time that is sealed next: everything is refused that was written longer ago than what is kept. */
export function sealAt(nowMs: number, keepMs: number): number {
  return Math.max(0, hlcOfMs(nowMs - keepMs));
}

/** Below which of a node's change numbers all the others have seen everything. */
export function confirmedBy(seen: readonly number[]): number {
  return Math.min(...seen);
}

/** What a node answered, and the floor that it had then. */
export interface AnsweredCells {
  readonly cells: readonly Cell[];
  readonly floor: number;
}

/**
 * Answers without what one of the others has forgotten: a read that takes long may get an old state from one node before it is
 * deleted, and nothing from another one after that forgot it.
 */
export function withoutForgotten(answers: readonly AnsweredCells[]): readonly (readonly Cell[])[] {
  const highest = Math.max(...answers.map(({ floor }) => floor));
  if (!answers.some(({ cells }) => cells.some((cell) => timeOf(cell) <= highest)))
    return answers.map(({ cells }) => cells);
  const known = answers.map(({ cells, floor }) => ({ floor, ids: new Set(cells.map(cellId)) }));
  return answers.map(({ cells }) =>
    cells.filter((cell) => !known.some(({ floor, ids }) => timeOf(cell) <= floor && !ids.has(cellId(cell)))),
  );
}

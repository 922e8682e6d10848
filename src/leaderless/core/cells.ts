/**
 * What merges: registers and tallies. Joining is commutative, associative and idempotent, so that cells may be sent twice, late and
 * in any order. The SQL functions `merge_registers` and `merge_tallies` follow the same rule.
 */

/** A value and who wrote it when. The higher `(at, writer)` stays; of one write, the one that lives longer. */
export interface Register {
  readonly collection: string;
  readonly key: string;
  /** Empty for a value that is one whole. */
  readonly field: string;
  /** JSON text; null is a tombstone. */
  readonly value: string | null;
  /** Hybrid time; see hlc.ts. */
  readonly at: number;
  /** Breaks ties, and is unique to the process. */
  readonly writer: string;
  /** When the value counts as deleted, in ms since 1970; null for never. */
  readonly expiresAtMs: number | null;
}

/** How much one actor added to an item, and how much of it was taken out again. Both only grow. */
export interface Tally {
  readonly collection: string;
  readonly key: string;
  readonly item: string;
  /** Alone raises `added`. */
  readonly actor: string;
  readonly added: number;
  readonly removed: number;
  /** Hybrid time of the actor's first write to this cell. */
  readonly bornAt: number;
}

export type Cell = ({ readonly store: 'registers' } & Register) | ({ readonly store: 'tallies' } & Tally);

export type Store = Cell['store'];

const SEPARATOR = '\u0000';

/** Identifies a key among all collections. */
export function keyId(collection: string, key: string): string {
  return `${collection}${SEPARATOR}${key}`;
}

/** Identifies a cell within its key. */
export function cellId(cell: Cell): string {
  return cell.store === 'registers' ? cell.field : `${cell.item}${SEPARATOR}${cell.actor}`;
}

/**
 * Whether `a` stays against `b`. A life is prolonged by sending the same write again with a later end, which cannot overwrite
 * a write that it did not see.
 */
export function isNewer(a: Register, b: Register): boolean {
  if (a.at !== b.at) return a.at > b.at;
  if (a.writer !== b.writer) return a.writer > b.writer;
  return (a.expiresAtMs ?? Infinity) > (b.expiresAtMs ?? Infinity);
}

/** The value of a register at a time; null for a tombstone, and for one whose life has ended. */
export function valueAt({ value, expiresAtMs }: Register, nowMs: number): string | null {
  return expiresAtMs !== null && expiresAtMs <= nowMs ? null : value;
}

/** The least cell that knows what both know. Both must have the same identity. */
export function joinCells(a: Cell, b: Cell): Cell {
  if (a.store === 'registers' && b.store === 'registers') return isNewer(b, a) ? b : a;
  if (a.store === 'tallies' && b.store === 'tallies') {
    if (covers(a, b)) return a;
    return {
      ...a,
      added: Math.max(a.added, b.added),
      removed: Math.max(a.removed, b.removed),
      bornAt: Math.min(a.bornAt, b.bornAt),
    };
  }
  return a;
}

/** Whether joining `b` into `a` would change nothing that is ever read. */
export function covers(a: Cell, b: Cell): boolean {
  if (a.store === 'registers' && b.store === 'registers') return !isNewer(b, a);
  if (a.store === 'tallies' && b.store === 'tallies') return a.added >= b.added && a.removed >= b.removed;
  return false;
}

/** All cells of one key by their identity. */
export type CellMap = ReadonlyMap<string, Cell>;

/** Joins answers of several nodes. */
export function joinAll(answers: readonly (readonly Cell[])[]): CellMap {
  const joined = new Map<string, Cell>();
  for (const answer of answers) {
    for (const cell of answer) {
      const id = cellId(cell);
      const known = joined.get(id);
      joined.set(id, known === undefined ? cell : joinCells(known, cell));
    }
  }
  return joined;
}

/** What a node that answered `answer` lacks of `joined`. */
export function lackingIn(answer: readonly Cell[], joined: CellMap): readonly Cell[] {
  const own = new Map(answer.map((cell) => [cellId(cell), cell]));
  return [...joined].flatMap(([id, cell]) => {
    const known = own.get(id);
    return known !== undefined && covers(known, cell) ? [] : [cell];
  });
}

import { cellId, joinCells, keyId } from '../core/cells.ts';
import type { Cell, Register, Store } from '../core/cells.ts';
import { bigintArray, bigintColumn, textArray, textColumn } from './arrays.ts';
import type { NodeReply, NodeRequest } from './requests.ts';
import type { Statement } from './statements.ts';

type MergeRequest = Extract<NodeRequest, { kind: 'merge' }>;
type RegisterCell = Extract<Cell, { store: 'registers' }>;
type TallyCell = Extract<Cell, { store: 'tallies' }>;

const SCHEMA = 'lockstep_leaderless';
const MERGE_VALUES = `SELECT ${SCHEMA}.merge_values($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`;
const DONE: NodeReply = { kind: 'done' };

/** The part of a statement that is the same at every node. */
interface Encoded {
  readonly name: string;
  readonly text: string;
  readonly columns: readonly unknown[];
}

/** A request goes to every node: it is encoded for the first one, and kept as long as itself. */
const encodedRequests = new WeakMap<MergeRequest, Encoded>();

/** One statement that joins the cells of all these requests into what a node has. */
export function mergeStatement(
  requests: readonly MergeRequest[],
  store: Store,
  epoch: number,
  maxAheadMs: number,
): Statement {
  const [first] = requests;
  const isAlone = first !== undefined && requests.length === 1;
  const known = isAlone ? encodedRequests.get(first) : undefined;
  const encoded = known ?? encode(distinctCells(requests), store);
  if (isAlone && known === undefined) encodedRequests.set(first, encoded);
  return {
    name: encoded.name,
    text: encoded.text,
    values: [epoch, maxAheadMs, first?.isRepair === true, ...encoded.columns],
    decode: () => Array.from(requests, () => DONE),
  };
}

function encode(cells: readonly Cell[], store: Store): Encoded {
  if (store === 'registers') {
    const columns = valueParameters(cells as readonly RegisterCell[]);
    if (columns !== null) return { name: 'lockstep_merge_values', text: MERGE_VALUES, columns };
  }
  const columns =
    store === 'registers'
      ? registerColumns(cells as readonly RegisterCell[])
      : tallyColumns(cells as readonly TallyCell[]);
  return {
    name: `lockstep_merge_${store}`,
    text: `SELECT ${SCHEMA}.merge_${store}($1, $2, $3, ${columns.map((_, index) => `$${index + 4}`).join(', ')})`,
    columns,
  };
}

/** Each cell once: ON CONFLICT refuses to touch a row twice. */
function distinctCells(requests: readonly MergeRequest[]): readonly Cell[] {
  const cells: Cell[] = [];
  const places = new Map<string, number>();
  for (const request of requests) {
    for (const cell of request.cells) {
      const place = places.get(cell.key);
      const known = place === undefined ? undefined : cells[place];
      if (place === undefined || known === undefined) {
        places.set(cell.key, cells.length);
        cells.push(cell);
      } else if (known.collection === cell.collection && cellId(known) === cellId(cell)) {
        cells[place] = joinCells(known, cell);
      } else {
        // Several cells of one key: their keys alone do not tell them apart.
        return distinctByName(requests);
      }
    }
  }
  return cells;
}

function distinctByName(requests: readonly MergeRequest[]): readonly Cell[] {
  const joined = new Map<string, Cell>();
  for (const { cells } of requests) {
    for (const cell of cells) {
      const id = `${keyId(cell.collection, cell.key)}\u0000${cellId(cell)}`;
      const known = joined.get(id);
      joined.set(id, known === undefined ? cell : joinCells(known, cell));
    }
  }
  return [...joined.values()];
}

/** What merge_values takes; null where more differs between the registers than it has room for. */
function valueParameters(cells: readonly Register[]): readonly unknown[] | null {
  const [one] = cells;
  if (one === undefined) return null;
  const { collection, field, writer } = one;
  const keys: string[] = [];
  const values: (string | null)[] = [];
  const times: number[] = [];
  let first = one.at;
  let last = one.at;
  for (const cell of cells) {
    if (cell.expiresAtMs !== null || cell.writer !== writer) return null;
    if (cell.field !== field || cell.collection !== collection) return null;
    keys.push(cell.key);
    values.push(cell.value);
    times.push(cell.at);
    if (cell.at < first) first = cell.at;
    if (cell.at > last) last = cell.at;
  }
  return [collection, field, writer, first, last, textArray(keys), textArray(values), bigintArray(times)];
}

export function registerColumns(cells: readonly RegisterCell[]): readonly Buffer[] {
  return [
    textColumn(cells.map((cell) => cell.collection)),
    textArray(cells.map((cell) => cell.key)),
    textColumn(cells.map((cell) => cell.field)),
    textArray(cells.map((cell) => cell.value)),
    bigintArray(cells.map((cell) => cell.at)),
    textColumn(cells.map((cell) => cell.writer)),
    // What an array lacks is null there.
    bigintArray(cells.some((cell) => cell.expiresAtMs !== null) ? cells.map((cell) => cell.expiresAtMs) : []),
  ];
}

export function tallyColumns(cells: readonly TallyCell[]): readonly Buffer[] {
  return [
    textColumn(cells.map((cell) => cell.collection)),
    textArray(cells.map((cell) => cell.key)),
    textArray(cells.map((cell) => cell.item)),
    textArray(cells.map((cell) => cell.actor)),
    bigintArray(cells.map((cell) => cell.added)),
    bigintColumn(cells.map((cell) => cell.removed)),
    bigintArray(cells.map((cell) => cell.bornAt)),
  ];
}

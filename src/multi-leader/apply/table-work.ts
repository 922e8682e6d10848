import { encodeRecords } from '../tables/batch-records.ts';
import type { EncodedRecords } from '../tables/batch-records.ts';
import { encodeKeyRow, encodeRows, encodeTimes } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { statementsFor } from '../tables/statements.ts';
import type { TableStatements } from '../tables/statements.ts';
import type { IncomingChange } from './incoming.ts';

/** Changes as one statement takes them. */
export interface EncodedChanges {
  readonly changes: readonly IncomingChange[];
  /** The parameters, of which the last are the commit times where the statement compares them. */
  readonly values: readonly unknown[];
}

/** A table's part of a batch. */
export interface TableWork {
  readonly shape: TableShape;
  readonly sql: TableStatements;
  readonly changes: readonly IncomingChange[];
  /** What one statement each does at first. */
  readonly updates: EncodedChanges;
  readonly deletes: EncodedChanges;
  readonly inserts: EncodedChanges;
  /** What is noted when all of it stands. */
  readonly records: EncodedRecords;
}

/** For a statement that only finds rows by their keys. */
export function encodePlain(shape: TableShape, changes: readonly IncomingChange[]): EncodedChanges {
  const rows = encodeRows(
    shape,
    changes.map(({ row, key }) => row ?? encodeKeyRow(shape, key)),
  );
  return { changes, values: [rows] };
}

/** For a statement that compares commit times, and says how many of its rows it found older. */
export function encodeTimed(shape: TableShape, changes: readonly IncomingChange[]): EncodedChanges {
  const times = encodeTimes(changes.map(({ version }) => version.timeUs));
  return { changes, values: [...encodePlain(shape, changes).values, times, changes.length] };
}

/** Groups batches by their tables, and makes them ready to be sent, which is most of what they cost here. */
export class TableSorter {
  readonly #shapes: ReadonlyMap<string, TableShape>;
  readonly #statements = new Map<string, TableStatements>();
  /** A batch may be tried more than once. */
  readonly #ready = new WeakMap<readonly IncomingChange[], readonly TableWork[]>();

  constructor(shapes: ReadonlyMap<string, TableShape>) {
    this.#shapes = shapes;
  }

  sort(changes: readonly IncomingChange[]): readonly TableWork[] {
    let work = this.#ready.get(changes);
    if (work === undefined) this.#ready.set(changes, (work = this.#sort(changes)));
    return work;
  }

  #sort(changes: readonly IncomingChange[]): readonly TableWork[] {
    const tables = [...Map.groupBy(changes, ({ table }) => table)];
    return tables
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, list]) => {
        const shape = this.#shapes.get(name);
        if (shape === undefined) throw new Error(`${name} is not shared`);
        // By key: rows are locked in one order by all. Of one key the order of the log stays.
        const sorted = list.toSorted((a, b) => (a.key === b.key ? 0 : a.key < b.key ? -1 : 1));
        const isMerging = shape.merge !== null;
        const some = (isOne: (change: IncomingChange) => boolean): IncomingChange[] =>
          isMerging ? [] : sorted.filter(isOne);
        return {
          shape,
          sql: this.#statementsOf(shape),
          changes: sorted,
          updates: encodeTimed(
            shape,
            some(({ kind, isInsert }) => kind === 'put' && !isInsert),
          ),
          deletes: encodeTimed(
            shape,
            some(({ kind }) => kind === 'delete'),
          ),
          inserts: encodePlain(
            shape,
            some(({ kind, isInsert }) => kind === 'put' && isInsert),
          ),
          records: encodeRecords(
            shape,
            some(({ kind }) => kind === 'put'),
          ),
        };
      });
  }

  #statementsOf(shape: TableShape): TableStatements {
    let sql = this.#statements.get(shape.name);
    if (sql === undefined) this.#statements.set(shape.name, (sql = statementsFor(shape)));
    return sql;
  }
}

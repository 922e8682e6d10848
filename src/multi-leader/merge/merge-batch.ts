import type pg from 'pg';
import type { IncomingChange } from '../apply/incoming.ts';
import type { BatchNotes } from '../core/batch-record.ts';
import { isSameImage } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { composeOperations, orderOperations, replay } from '../core/merge.ts';
import type { Operation } from '../core/merge.ts';
import { encodeKeyRow, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { statementsFor } from '../tables/statements.ts';
import type { TableStatements } from '../tables/statements.ts';
import {
  fromImage,
  readImages,
  readJournals,
  textImages,
  writeBases,
  writeOperations,
} from './journal-store.ts';
import type { KeyedOperation } from './journal-store.ts';

/** A row that vanished and came back more often than this between two statements. */
const MAX_ROUNDS = 20;

/**
 * A batch's part for one table whose columns merge: its rows are locked, then, once the own reader has passed, all that is
 * not settled of each row is replayed in the order of versions.
 */
export class MergeBatch {
  readonly #client: pg.Client;
  readonly #shape: TableShape;
  readonly #sql: TableStatements;
  readonly #changes: readonly IncomingChange[];
  readonly #inserted = new Set<string>();
  readonly #present = new Set<string>();
  #operations: readonly KeyedOperation[] = [];
  #keys: readonly string[] = [];
  #keyRows: Buffer = Buffer.alloc(0);

  constructor(client: pg.Client, shape: TableShape, changes: readonly IncomingChange[]) {
    this.#client = client;
    this.#shape = shape;
    this.#sql = statementsFor(shape);
    this.#changes = changes;
  }

  get count(): number {
    return this.#operations.length;
  }

  /** Locks the rows that are here, and puts in those that are not, which locks them too. */
  async lock(): Promise<void> {
    this.#operations = await readOperations(this.#client, this.#shape, this.#changes);
    this.#keys = [...new Set(this.#operations.map(({ key }) => key))].toSorted();
    this.#keyRows = encodeRows(
      this.#shape,
      this.#keys.map((key) => encodeKeyRow(this.#shape, key)),
    );
    const rows = new Map(
      this.#changes.flatMap(({ key, row }): [string, Buffer][] => (row === null ? [] : [[key, row]])),
    );
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const { rows: locked } = await this.#client.query<{ n: number }>(this.#sql.lock, [this.#keyRows]);
      for (const { n } of locked) {
        const key = this.#keys[n - 1] ?? '';
        if (!this.#inserted.has(key)) this.#present.add(key);
      }
      const missing = this.#keys.filter(
        (key) => rows.has(key) && !this.#present.has(key) && !this.#inserted.has(key),
      );
      if (missing.length === 0) return;
      const { rows: inserted } = await this.#client.query<{ n: number }>(this.#sql.insert, [
        encodeRows(
          this.#shape,
          missing.map((key) => rows.get(key) ?? Buffer.alloc(0)),
        ),
      ]);
      for (const { n } of inserted) this.#inserted.add(missing[n - 1] ?? '');
    }
    throw new Error(`rows of ${this.#shape.name} come and go faster than they can be locked`);
  }

  /** Enters the batch into the journal, and leaves in each row what replaying it gives. */
  async replay(notes: BatchNotes): Promise<void> {
    const rules = this.#shape.merge ?? [];
    const [journals, images] = await Promise.all([
      readJournals(this.#client, this.#shape, this.#keys),
      readImages(this.#client, this.#shape, this.#keyRows),
    ]);
    const incoming = new Map<string, Operation[]>();
    for (const { key, operation } of this.#operations)
      incoming.set(key, [...(incoming.get(key) ?? []), operation]);
    const bases = new Map<string, Image | null>();
    const updates: Image[] = [];
    const removed: string[] = [];
    this.#keys.forEach((key, index) => {
      const journal = journals[index];
      const here = images.get(index + 1) ?? null;
      // A row that was not here when the statements ran has nothing unsettled but what the journal has.
      const wasHere = this.#present.has(key) ? here : null;
      const base = journal?.isOpen === true ? journal.base : wasHere;
      if (journal?.isOpen !== true) bases.set(key, base);
      const all = orderOperations([...(journal?.operations ?? []), ...(incoming.get(key) ?? [])]);
      const wanted = replay(base, all, rules);
      const last = all.at(-1);
      if (last !== undefined) notes.see(last.version.timeUs);
      if (!this.#present.has(key) && !this.#inserted.has(key)) return;
      if (wanted === null) removed.push(key);
      else if (!isSameImage(wanted, here)) updates.push(wanted);
    });
    await Promise.all([
      writeBases(this.#client, this.#shape, bases),
      writeOperations(this.#client, this.#shape, this.#operations),
      ...(updates.length === 0
        ? []
        : [this.#client.query(this.#sql.updateImages, [updates.map((image) => fromImage(image))])]),
      ...(removed.length === 0
        ? []
        : [
            this.#client.query(this.#sql.removeDecided, [
              encodeRows(
                this.#shape,
                removed.map((key) => encodeKeyRow(this.#shape, key)),
              ),
            ]),
          ]),
    ]);
  }
}

/** What each transaction did to each row, as one operation; `changes` must hold whole transactions. */
export async function readOperations(
  client: pg.Client,
  shape: TableShape,
  changes: readonly IncomingChange[],
): Promise<KeyedOperation[]> {
  const rows = changes.flatMap(({ old, row }) => [
    ...(old === null ? [] : [old]),
    ...(row === null ? [] : [row]),
  ]);
  const images = await textImages(client, shape, encodeRows(shape, rows));
  let next = 0;
  const take = (has: boolean): Image | null => (has ? (images[next++] ?? null) : null);
  const grouped = new Map<string, { readonly key: string; readonly steps: Operation[] }>();
  for (const { key, version, old, row } of changes) {
    const step: Operation = { version, old: take(old !== null), row: take(row !== null) };
    const id = `${version.timeUs}/${version.lsn}/${key}`;
    const group = grouped.get(id);
    if (group === undefined) grouped.set(id, { key, steps: [step] });
    else group.steps.push(step);
  }
  return [...grouped.values()].flatMap(({ key, steps }) => {
    const operation = composeOperations(steps);
    // Where each region holds its part, a change of that part alone is no change to the others.
    const isOwnAffair = shape.held.length > 0 && operation !== null && isNoChange(operation);
    return operation === null || isOwnAffair ? [] : [{ key, operation }];
  });
}

function isNoChange({ old, row }: Operation): boolean {
  return old !== null && row !== null && isSameImage(old, row);
}

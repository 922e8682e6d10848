import type { RowChange } from '../../logical/core/change.ts';
import type { Relation } from '../../logical/core/relation.ts';
import type { TransactionPart } from '../../logical/core/change.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Change } from '../core/change.ts';
import type { Version } from '../core/version.ts';
import { encodeSent, keyOf, mapColumns, readSent } from '../tables/sent-row.ts';
import type { ColumnMap, SentRow } from '../tables/sent-row.ts';
import type { TableShape } from '../tables/shape.ts';

/** A change of one row with the row as this region's table takes it. */
export interface IncomingChange extends Change<Buffer> {
  /** Its writer had no such row: most likely there is none here either. */
  readonly isInsert: boolean;
  /** The row before it, of a table whose columns merge, or whose deleted rows may come back; else null, as of an insert. */
  readonly old: Buffer | null;
}

/** A table that was truncated. */
export interface EmptiedTable {
  readonly table: string;
  readonly version: Version;
  /** How many of the changes came before it. */
  readonly after: number;
}

/** What a transaction of another region, or of the own, did to shared tables. */
export interface IncomingChanges {
  readonly changes: readonly IncomingChange[];
  /** Tables that it emptied, and when. */
  readonly emptied: readonly EmptiedTable[];
  /** Those with a prefix of ours: anybody may have written them, and as many bytes as PostgreSQL takes. */
  readonly messages: readonly { readonly prefix: string; readonly content: Buffer }[];
}

/** Turns what a publisher sent into changes of this region's tables. */
export class IncomingReader {
  readonly #shapes: ReadonlyMap<string, TableShape>;
  readonly #region: number;
  readonly #maps = new WeakMap<Relation, ColumnMap>();

  /** `region`: the number of the one whose log is read. */
  constructor(shapes: ReadonlyMap<string, TableShape>, region: number) {
    this.#shapes = shapes;
    this.#region = region;
  }

  read(part: TransactionPart): IncomingChanges {
    const version: Version = {
      timeUs: Number(part.committedAtMicros),
      region: this.#region,
      lsn: part.commitLsn,
    };
    const changes: IncomingChange[] = [];
    const emptied: EmptiedTable[] = [];
    const messages: { prefix: string; content: Buffer }[] = [];
    for (const change of part.changes) {
      if (change.kind === 'message') {
        if (change.prefix.startsWith('lockstep.')) messages.push(change);
      } else if (change.kind === 'truncate')
        for (const relation of change.relations)
          emptied.push({ table: this.#shapeOf(relation).name, version, after: changes.length });
      else this.#readRow(change, version, changes);
    }
    return { changes, emptied, messages };
  }

  #shapeOf(relation: Relation): TableShape {
    const shape = this.#shapes.get(`${relation.schema}.${relation.name}`);
    if (shape !== undefined) return shape;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${relation.schema}.${relation.name} is shared there and not here. Create it here too; its changes wait.`,
    );
  }

  #readRow(change: RowChange, version: Version, into: IncomingChange[]): void {
    const { relation, buffer, oldAt, newAt } = change;
    const shape = this.#shapeOf(relation);
    let map = this.#maps.get(relation);
    if (map === undefined) this.#maps.set(relation, (map = mapColumns(shape, relation)));
    const old = oldAt < 0 ? null : readSent(relation, buffer, oldAt);
    const table = shape.name;
    const oldKey = old === null ? null : keyOf(shape, map, old);
    const needsOld = shape.merge !== null || shape.parentOf === 'rows-that-come-back';
    const oldRow = old === null || !needsOld ? null : encodeSent(shape, map, this.#whole(change, old));
    const remove = (key: string): void => {
      into.push({ kind: 'delete', table, key, version, row: null, isInsert: false, old: oldRow });
    };
    if (newAt < 0) return remove(oldKey ?? '');
    // What the update did not touch, and was not sent again, stands in the old row where that is sent whole.
    const sent = readSent(relation, buffer, newAt, change.isOldFull ? old : null);
    const key = keyOf(shape, map, sent);
    // Another primary key is another row: a delete and an insert at one version.
    const isMoved = oldKey !== null && oldKey !== key;
    if (isMoved) remove(oldKey);
    const row = encodeSent(shape, map, sent);
    const isInsert = change.kind === 'insert' || isMoved;
    into.push({ kind: 'put', table, key, version, row, isInsert, old: isMoved ? null : oldRow });
  }

  #whole(change: RowChange, old: SentRow): SentRow {
    if (change.isOldFull) return old;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${change.relation.schema}.${change.relation.name} merges by columns here, or gets deleted rows back, and its changes come without the row before them. Run ALTER TABLE … REPLICA IDENTITY FULL in every region.`,
    );
  }
}

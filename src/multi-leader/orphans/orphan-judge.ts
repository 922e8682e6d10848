import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { WHOLE_TABLE } from '../apply/emptying.ts';
import { parseRecord } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { judgeOrphan } from '../core/orphan-rule.ts';
import type { Version } from '../core/version.ts';
import { namedRow, writtenKey } from '../merge/journal-store.ts';
import { tellDecision } from '../own/decisions.ts';
import type { Reference } from '../tables/references.ts';
import { numberedRows } from '../tables/numbered-rows.ts';
import { encodeKeyRow, encodeKeys, encodeRows, keyOfRecord } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { microsOf, SCHEMA, statementsFor } from '../tables/statements.ts';
import { versionFrom } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';

export interface OrphanJudgeOptions {
  /** In a session without an origin: what it decides is a change like any other. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  readonly promiseKey: Buffer;
}

/** A foreign key with both of its tables. */
interface Relation {
  readonly shape: TableShape;
  readonly parent: TableShape;
  readonly reference: Reference;
}

interface Noted {
  readonly key: string;
  readonly timesNoted: number;
}

interface FoundRow {
  readonly n: number;
  readonly image: string;
  readonly committedUs: string | null;
  /** The column's value as record_send gives it; null where it refers to nothing. */
  readonly parentKey: string | null;
  readonly hasParent: boolean;
}

interface Removed {
  readonly version: Version;
  readonly image: string | null;
}

const PAGE = 500;
/** So long after nothing can come any more a parent's image is kept: a row may come back after its own delete. */
const KEEP_REMOVED_US = 24 * 3_600 * 1_000_000;

/** Looks at the rows that came without their parent, and decides about those whose parent this region deleted. */
export class OrphanJudge {
  readonly #options: OrphanJudgeOptions;

  constructor(options: OrphanJudgeOptions) {
    this.#options = options;
  }

  /** Below `lowestUs` nothing comes any more. Throws what stands in one's way once all were looked at. */
  async judgeAll(lowestUs: number): Promise<void> {
    const { client, shapes } = this.#options;
    const failures: unknown[] = [];
    for (const shape of shapes.values())
      for (const reference of shape.references) {
        const parent = shapes.get(reference.parent);
        if (parent !== undefined) await this.#judge({ shape, parent, reference }, lowestUs, failures);
      }
    await client.query(`DELETE FROM ${SCHEMA}.removed_parents WHERE time_us < $1`, [
      lowestUs - KEEP_REMOVED_US,
    ]);
    if (failures.length > 0) throw failures[0];
  }

  async #judge(relation: Relation, lowestUs: number, failures: unknown[]): Promise<void> {
    let last: Buffer = Buffer.alloc(0);
    for (;;) {
      const { rows } = await this.#options.client.query<{ key: Buffer; timesNoted: number }>(
        `SELECT key, times_noted AS "timesNoted" FROM ${SCHEMA}.orphans
         WHERE table_name = $1 AND column_name = $2 AND key > $3 ORDER BY key LIMIT ${PAGE}`,
        [relation.shape.name, relation.reference.column, last],
      );
      if (rows.length === 0) return;
      last = rows.at(-1)?.key ?? last;
      const noted = rows.map(({ key, timesNoted }) => ({ key: key.toString('latin1'), timesNoted }));
      await this.#judgePage(relation, noted, lowestUs, failures);
    }
  }

  async #judgePage(
    relation: Relation,
    noted: readonly Noted[],
    lowestUs: number,
    failures: unknown[],
  ): Promise<void> {
    const found = await this.#find(
      relation,
      noted.map(({ key }) => key),
    );
    const parents = [...found.values()].flatMap(({ parentKey }) => (parentKey === null ? [] : [parentKey]));
    const removed = await this.#readRemoved(relation.parent, parents);
    const aside = await this.#readAside(relation.parent, parents);
    for (const [index, one] of noted.entries()) {
      const row = found.get(index + 1);
      const parentKey = row?.parentKey ?? null;
      const removal = parentKey === null ? undefined : (removed.get(parentKey) ?? removed.get(WHOLE_TABLE));
      const verdict =
        row === undefined || parentKey === null
          ? 'over'
          : judgeOrphan(
              {
                committedUs: row.committedUs === null ? null : Number(row.committedUs),
                hasParent: row.hasParent,
                isParentAside: aside.has(parentKey),
                removed: removal?.version ?? null,
              },
              lowestUs,
            );
      if (verdict === 'over') await this.#forget(relation, one);
      else if (verdict === 'act' && removal !== undefined && parentKey !== null)
        await this.#act(relation, one, { parentKey, removal }).catch((error: unknown) => {
          failures.push(error);
        });
    }
  }

  async #find(
    { shape, parent, reference }: Relation,
    keys: readonly string[],
    lock = '',
  ): Promise<ReadonlyMap<number, FoundRow>> {
    const column = `t.${quoteIdentifier(reference.column)}`;
    const rows = encodeRows(
      shape,
      keys.map((key) => encodeKeyRow(shape, key)),
    );
    const { rows: found } = await this.#options.client.query<FoundRow>(
      `SELECT u.n::int, ROW(t.*)::text AS image, ${microsOf('pg_xact_commit_timestamp(t.xmin)')} AS "committedUs",
         CASE WHEN ${column} IS NOT NULL THEN encode(record_send(ROW(${column})), 'hex') END AS "parentKey",
         EXISTS (SELECT FROM ${quoteShape(parent)} p WHERE p.${quoteIdentifier(reference.parentKey)} = ${column}) AS "hasParent"
       FROM ${quoteShape(shape)} t JOIN ${numberedRows(shape)} ${lock}`,
      [rows],
    );
    return new Map(
      found.map((row) => {
        const parentKey = row.parentKey === null ? null : keyOfRecord(Buffer.from(row.parentKey, 'hex'));
        return [row.n, { ...row, parentKey }];
      }),
    );
  }

  async #readRemoved(parent: TableShape, keys: readonly string[]): Promise<ReadonlyMap<string, Removed>> {
    const { rows } = await this.#options.client.query<VersionRow & { key: Buffer; image: string | null }>(
      `SELECT key, time_us AS "timeUs", region, lsn::text AS lsn, image FROM ${SCHEMA}.removed_parents
       WHERE table_name = $1 AND key = ANY ($2::bytea[])`,
      [parent.name, encodeKeys([WHOLE_TABLE, ...keys])],
    );
    const removed = new Map<string, Removed>();
    for (const row of rows) {
      const version = versionFrom(row);
      if (version !== null) removed.set(row.key.toString('latin1'), { version, image: row.image });
    }
    return removed;
  }

  async #readAside(parent: TableShape, keys: readonly string[]): Promise<ReadonlySet<string>> {
    const { rows } = await this.#options.client.query<{ key: Buffer }>(
      `SELECT key FROM ${SCHEMA}.parked WHERE table_name = $1 AND key = ANY ($2::bytea[])`,
      [parent.name, encodeKeys(keys)],
    );
    return new Set(rows.map(({ key }) => key.toString('latin1')));
  }

  /** Unless a batch has noted it again meanwhile. */
  async #forget({ shape, reference }: Relation, { key, timesNoted }: Noted): Promise<void> {
    await this.#options.client.query(
      `DELETE FROM ${SCHEMA}.orphans WHERE table_name = $1 AND column_name = $2 AND key = $3 AND times_noted = $4`,
      [shape.name, reference.column, Buffer.from(key, 'latin1'), timesNoted],
    );
  }

  /** In a transaction of its own, as anybody could have written it. */
  async #act(
    relation: Relation,
    noted: Noted,
    { parentKey, removal }: { readonly parentKey: string; readonly removal: Removed },
  ): Promise<void> {
    const { client } = this.#options;
    const { shape, reference } = relation;
    await client.query('BEGIN');
    try {
      const row = (await this.#find(relation, [noted.key], 'FOR UPDATE OF t')).get(1);
      if (row !== undefined && !row.hasParent && row.parentKey === parentKey) {
        const isDone =
          reference.rule === 'restore-parent'
            ? await this.#restore(relation, parentKey, removal)
            : await this.#deleteOrphan(shape, noted.key);
        if (isDone) await this.#tell(relation, parseRecord(row.image), removal, row);
      }
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  /** False where nobody knows what it held: its table was emptied. */
  async #restore({ parent }: Relation, parentKey: string, { image }: Removed): Promise<boolean> {
    const { client } = this.#options;
    if (image === null) return false;
    // The app's triggers fired when it was written first.
    await client.query('SET LOCAL session_replication_role = replica');
    await client.query(statementsFor(parent).insertImages, [[image]]);
    await client.query(`DELETE FROM ${SCHEMA}.removed_parents WHERE table_name = $1 AND key = $2`, [
      parent.name,
      Buffer.from(parentKey, 'latin1'),
    ]);
    return true;
  }

  /** With what the app's own foreign keys and triggers do when a row goes, with the rights of the table's owner. */
  async #deleteOrphan(shape: TableShape, key: string): Promise<boolean> {
    const { client } = this.#options;
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    await client.query(statementsFor(shape).removeDecided, [encodeRows(shape, [encodeKeyRow(shape, key)])]);
    return true;
  }

  async #tell(
    { shape, parent, reference }: Relation,
    image: Image,
    { version, image: parentImage }: Removed,
    { committedUs }: FoundRow,
  ): Promise<void> {
    const { client, promiseKey, region } = this.#options;
    const isRestored = reference.rule === 'restore-parent';
    const parentRow = parentImage === null ? null : namedRow(parent, parseRecord(parentImage));
    await tellDecision(
      client,
      {
        table: shape.name,
        key: writtenKey(shape, image),
        kind: 'parent-delete/write',
        decision: isRestored ? 'parent-restored' : 'orphan-deleted',
        earlier: { timeUs: version.timeUs, region: version.region },
        later: {
          timeUs: Number(committedUs ?? version.timeUs),
          region,
          lsn: formatLsn(version.lsn as Lsn),
        },
        before: parentRow,
        seen: null,
        written: namedRow(shape, image),
        result: isRestored ? parentRow : null,
      },
      promiseKey,
    );
  }
}

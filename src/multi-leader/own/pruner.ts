import type pg from 'pg';
import { removeOlder } from '../apply/emptying.ts';
import { judgeTombstone } from '../core/watermark.ts';
import { mayForgetAnything } from '../join/core/join-rule.ts';
import { readMembers } from '../join/members.ts';
import type { PresentRow } from '../core/row-rule.ts';
import type { Version } from '../core/version.ts';
import { settleTable } from '../merge/settler.ts';
import { noteDecisions } from '../referee/pending-decisions.ts';
import { noteOpenConflicts } from '../resolve/open-conflicts.ts';
import { bringBackParked } from '../park/unpark.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import { SCHEMA, statementsFor } from '../tables/statements.ts';
import type { TableShape } from '../tables/shape.ts';
import { versionFrom } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';

export interface PrunerOptions {
  /** In a session of an origin of its own: a row that is removed here was removed in every region. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  /** All regions' names, by number. */
  readonly names: readonly string[];
  /** Numbers of those that have not left. */
  readonly present: readonly number[];
  readonly passOwnLog: () => Promise<void>;
}

interface KeptTombstone extends VersionRow {
  readonly key: Buffer;
}

type FoundRow = VersionRow & {
  readonly n: number;
  readonly committedUs: string | null;
  readonly isApplied: boolean;
};

const CHUNK = 1_000;
const RECORDS_CHUNK = 20_000;

/** Forgets versions and tombstones that nothing can come any more to be compared with. */
export class Pruner {
  readonly #options: PrunerOptions;
  #waitsFor: string | null = null;

  constructor(options: PrunerOptions) {
    this.#options = options;
  }

  /** Why nothing is forgotten, for people; null while it is. */
  get trouble(): string | null {
    return this.#waitsFor === null
      ? null
      : `nothing is forgotten while ${this.#waitsFor} joins: start this process again once it has, or give it up with "lockstep regions add ${this.#waitsFor} --url <its URL> --give-up"`;
  }

  /**
   * Below `lowestUs` nothing comes any more. Returns how many records and tombstones were forgotten: none while another region
   * joins, which may need them.
   */
  async prune(lowestUs: number): Promise<number> {
    const { client, shapes } = this.#options;
    let forgotten = 0;
    if (!(await this.#mayForget())) return 0;
    for (const shape of shapes.values()) {
      // Before tombstones go: one may speak of a row that is aside.
      if (shape.unique.length > 0 && shape.merge === null) await bringBackParked({ ...this.#options, shape });
      forgotten += await this.#within(() =>
        shape.merge === null
          ? this.#pruneTombstones(shape, lowestUs)
          : settleTable({
              client,
              shape,
              lowestUs,
              passOwnLog: this.#options.passOwnLog,
              referee: async (rows) => {
                await noteDecisions({ ...this.#options, shape }, rows);
                await noteOpenConflicts({ ...this.#options, shape }, rows);
              },
            }),
      );
    }
    return forgotten + (await this.#within(() => this.#pruneRecords(lowestUs)));
  }

  async #mayForget(): Promise<boolean> {
    const members = await readMembers(this.#options.client);
    this.#waitsFor = members?.joining ?? null;
    return members !== null && mayForgetAnything(this.#options.names, members);
  }

  /** A transaction that forgets something; who lets another region join waits for its end. */
  async #within(work: () => Promise<number>): Promise<number> {
    const { client } = this.#options;
    await client.query('BEGIN');
    try {
      const forgotten = (await this.#mayForget()) ? await work() : 0;
      await client.query('COMMIT');
      return forgotten;
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  async #pruneRecords(lowestUs: number): Promise<number> {
    const { client, shapes } = this.#options;
    // Which of two rows with one unique value is the later must be known however long ago they were written.
    const unique = [...shapes.values()].filter((shape) => shape.unique.length > 0);
    const settled = [lowestUs, unique.map(({ name }) => name)];
    const { rowCount } = await client.query(
      `DELETE FROM ${SCHEMA}.records WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM ${SCHEMA}.records r WHERE batch_us < $1 AND table_name <> ALL ($2::text[]) AND NOT EXISTS (
           SELECT FROM ${SCHEMA}.tombstones t WHERE (t.table_name, t.key) = (r.table_name, r.key))
         LIMIT ${RECORDS_CHUNK}))`,
      settled,
    );
    const { rows } = await client.query<{ count: number }>(
      `DELETE FROM ${SCHEMA}.batch_records WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM ${SCHEMA}.batch_records b WHERE batch_us < $1 AND table_name <> ALL ($2::text[]) AND NOT EXISTS (
           SELECT FROM ${SCHEMA}.tombstones t WHERE t.table_name = b.table_name AND t.key = ANY (b.keys))
         LIMIT ${RECORDS_CHUNK}))
       RETURNING cardinality(keys) AS count`,
      settled,
    );
    return rows.reduce((sum, { count }) => sum + count, rowCount ?? 0);
  }

  async #pruneTombstones(shape: TableShape, lowestUs: number): Promise<number> {
    const { client } = this.#options;
    const { rows: kept } = await client.query<KeptTombstone>(
      `SELECT key, time_us AS "timeUs", region, lsn::text AS lsn FROM ${SCHEMA}.tombstones
       WHERE table_name = $1 AND time_us < $2 AND key <> '' LIMIT ${CHUNK}`,
      [shape.name, lowestUs],
    );
    await this.#pruneEmptying(shape, lowestUs);
    if (kept.length === 0) return 0;
    const keys = kept.map(({ key }) => key.toString('latin1'));
    const fates = await this.#judge(shape, keys, kept, lowestUs);
    const removed = keys.filter((_, index) => fates[index] === 'delete-row');
    if (removed.length > 0) {
      await client.query(statementsFor(shape).removeDecided, [
        encodeRows(
          shape,
          removed.map((key) => encodeKeyRow(shape, key)),
        ),
      ]);
    }
    const gone = keys.filter((_, index) => fates[index] !== 'keep');
    await client.query(
      `DELETE FROM ${SCHEMA}.tombstones WHERE table_name = $1 AND key = ANY ($2::bytea[]) AND time_us < $3`,
      [shape.name, encodeKeys(gone), lowestUs],
    );
    return gone.length;
  }

  /** As of a row: what an emptying met on its way to being visible, and passed by, goes now. */
  async #pruneEmptying(shape: TableShape, lowestUs: number): Promise<void> {
    const { client, region } = this.#options;
    const { rows } = await client.query<VersionRow>(
      `DELETE FROM ${SCHEMA}.tombstones WHERE table_name = $1 AND time_us < $2 AND key = ''
       RETURNING time_us AS "timeUs", region, lsn::text AS lsn`,
      [shape.name, lowestUs],
    );
    const version = rows[0] === undefined ? null : versionFrom(rows[0]);
    if (version !== null) while ((await removeOlder(client, shape, region, version, 'forgotten')) > 0);
  }

  async #judge(
    shape: TableShape,
    keys: readonly string[],
    kept: readonly KeptTombstone[],
    lowestUs: number,
  ): Promise<('keep' | 'forget' | 'delete-row')[]> {
    const { client, region } = this.#options;
    const sql = statementsFor(shape);
    const rows = encodeRows(
      shape,
      keys.map((key) => encodeKeyRow(shape, key)),
    );
    // Applying does not stand still for a row that somebody holds: its tombstone is kept until the next time.
    const { rows: locked } = await client.query<{ n: number }>(`${sql.lock} SKIP LOCKED`, [rows]);
    const isLocked = new Set(locked.map(({ n }) => n));
    const { rows: found } = await client.query<FoundRow>(sql.read, [rows, encodeKeys(keys), shape.name]);
    const present = new Map(found.map((row) => [row.n, row]));
    return kept.map((tombstone, index) => {
      const row = present.get(index + 1);
      if (row !== undefined && !isLocked.has(row.n)) return 'keep';
      const here: PresentRow | null =
        row === undefined
          ? null
          : {
              kind: 'present',
              committedUs: row.committedUs === null ? null : Number(row.committedUs),
              isApplied: row.isApplied,
              record: versionFrom(row),
            };
      const version = versionFrom(tombstone) as Version;
      return judgeTombstone(version, here ?? { kind: 'missing', tombstone: version }, lowestUs, region);
    });
  }
}

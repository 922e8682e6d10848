import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { formatRecord, parseRecord } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { mayTakeValues } from '../core/park-rule.ts';
import { versionOf } from '../core/row-rule.ts';
import type { Version } from '../core/version.ts';
import { encodeKeyRow, encodeKeys, encodeRows, keyOfRecord } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { COMMITTED_US, recordOf, SCHEMA, statementsFor } from '../tables/statements.ts';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { versionFrom } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';

/** A row that is to stand at a version, if no later one holds a value that is unique. */
export interface Candidate {
  readonly key: string;
  readonly image: Image;
  readonly version: Version;
}

export const UNIQUE_VIOLATION = '23505';
const SAVEPOINT = 'lockstep_place';
/** A row holds as many others' values as the table has unique indexes; more rounds mean that others write meanwhile. */
const MAX_ROUNDS = 20;
const PAGE = 500;
/** Older than all that can still come. */
const SETTLED: Version = { timeUs: 0, region: 0, lsn: 0n };

interface Holder extends VersionRow {
  readonly image: string;
  readonly key: string;
  readonly committedUs: string | null;
  readonly isApplied: boolean;
}

/** Rows that lost a unique value to a later row: aside, with their version, until the value is free again. */
export class Parking {
  readonly #client: pg.Client;
  readonly #region: number;
  /** What this transaction has put in shows no commit time yet. */
  readonly #placed = new Map<string, Version>();

  /** For one table, in one transaction of the caller's. */
  constructor(client: pg.Client, region: number) {
    this.#client = client;
    this.#region = region;
  }

  /**
   * Puts a row into its table, and aside those rows that hold one of its unique values at an older version; puts it aside
   * itself where a later one does. Returns whether it stands in the table.
   */
  async place(shape: TableShape, candidate: Candidate): Promise<boolean> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (await this.#write(shape, candidate)) {
        this.#placed.set(candidate.key, candidate.version);
        await this.forget(shape, candidate.key);
        return true;
      }
      const holders = await this.#findHolders(shape, candidate.image);
      if (
        !mayTakeValues(
          candidate.version,
          holders.map(({ version }) => version),
        )
      ) {
        await this.#remove(shape, candidate.key);
        await this.#setAside(shape, candidate);
        return false;
      }
      for (const holder of holders) {
        await this.#remove(shape, holder.key);
        await this.#setAside(shape, holder);
      }
    }
    throw new Error(`unique values of ${shape.name} change faster than they can be compared`);
  }

  /** Rows that are aside, the latest first, a page at a time: those after `last`. */
  async list(shape: TableShape, last: Candidate | null): Promise<Candidate[]> {
    const { rows } = await this.#client.query<VersionRow & { key: Buffer; image: string }>(
      `SELECT key, image, time_us AS "timeUs", region, lsn::text AS lsn FROM ${SCHEMA}.parked WHERE table_name = $1
         AND ($2::bigint IS NULL OR (time_us, region, lsn, key) < ($2, $3::smallint, $4::pg_lsn, $5::bytea))
       ORDER BY time_us DESC, region DESC, lsn DESC, key DESC LIMIT ${PAGE}`,
      last === null
        ? [shape.name, null, null, null, null]
        : [
            shape.name,
            last.version.timeUs,
            last.version.region,
            formatLsn(last.version.lsn as Lsn),
            Buffer.from(last.key, 'latin1'),
          ],
    );
    return rows.map((row) => ({
      key: row.key.toString('latin1'),
      image: parseRecord(row.image),
      version: versionFrom(row) ?? SETTLED,
    }));
  }

  /** Of keys, the versions of those that are aside. */
  async versionsOf(shape: TableShape, keys: readonly string[]): Promise<ReadonlyMap<string, Version>> {
    const { rows } = await this.#client.query<VersionRow & { key: Buffer }>(
      `SELECT key, time_us AS "timeUs", region, lsn::text AS lsn FROM ${SCHEMA}.parked
       WHERE table_name = $1 AND key = ANY ($2::bytea[])`,
      [shape.name, encodeKeys(keys)],
    );
    return new Map(rows.map((row) => [row.key.toString('latin1'), versionFrom(row) ?? SETTLED]));
  }

  async forget(shape: TableShape, key: string): Promise<void> {
    await this.#client.query(`DELETE FROM ${SCHEMA}.parked WHERE table_name = $1 AND key = $2`, [
      shape.name,
      Buffer.from(key, 'latin1'),
    ]);
  }

  /** False when a unique value is taken. */
  async #write(shape: TableShape, { image }: Candidate): Promise<boolean> {
    const sql = statementsFor(shape);
    await this.#client.query(`SAVEPOINT ${SAVEPOINT}`);
    try {
      const values = [[formatRecord(image)]];
      const { rowCount } = await this.#client.query(sql.updateImages, values);
      if (rowCount === 0) await this.#client.query(sql.insertImages, values);
      await this.#client.query(`RELEASE SAVEPOINT ${SAVEPOINT}`);
      return true;
    } catch (error) {
      if ((error as pg.DatabaseError).code !== UNIQUE_VIOLATION) throw error;
      await this.#client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      return false;
    }
  }

  async #remove(shape: TableShape, key: string): Promise<void> {
    await this.#client.query(statementsFor(shape).removeDecided, [
      encodeRows(shape, [encodeKeyRow(shape, key)]),
    ]);
  }

  async #setAside(shape: TableShape, { key, image, version }: Candidate): Promise<void> {
    await this.#client.query(
      `INSERT INTO ${SCHEMA}.parked (table_name, key, time_us, region, lsn, image) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (table_name, key) DO UPDATE SET time_us = excluded.time_us, region = excluded.region,
         lsn = excluded.lsn, image = excluded.image`,
      [
        shape.name,
        Buffer.from(key, 'latin1'),
        version.timeUs,
        version.region,
        formatLsn(version.lsn as Lsn),
        formatRecord(image),
      ],
    );
  }

  /** Other rows with one of the image's unique values, locked. */
  async #findHolders(shape: TableShape, image: Image): Promise<Candidate[]> {
    const column = (position: number): string => quoteIdentifier(shape.columns[position]?.name ?? '');
    const isSame = (positions: readonly number[], operators: readonly string[] = []): string =>
      `(${positions.map((position, index) => `t.${column(position)} ${operators[index] ?? '='} (u.r).${column(position)}`).join(' AND ')})`;
    const claims = shape.unique.map((positions, index) => isSame(positions, shape.uniqueOperators[index]));
    const key = shape.key.map((position) => `t.${column(position)}`).join(', ');
    const { rows } = await this.#client.query<Omit<Holder, keyof VersionRow>>(
      `SELECT ROW(t.*)::text AS image, encode(record_send(ROW(${key})), 'hex') AS key,
         ${COMMITTED_US} AS "committedUs",
         coalesce((pg_xact_commit_timestamp_origin(t.xmin)).roident, 0) <> 0 AS "isApplied"
       FROM ${quoteShape(shape)} t, (SELECT $1::${quoteShape(shape)} AS r) u
       WHERE (${claims.join(' OR ')}) AND NOT ${isSame(shape.key)} FOR UPDATE OF t`,
      [formatRecord(image)],
    );
    const holders = rows.map((row) => ({ ...row, key: keyOfRecord(Buffer.from(row.key, 'hex')) }));
    const { rows: noted } = await this.#client.query<VersionRow & { key: Buffer }>(
      `SELECT u.key, r.time_us AS "timeUs", r.region, r.lsn::text AS lsn
       FROM unnest($2::bytea[], $3::bigint[]) AS u(key, committed_us)
       CROSS JOIN LATERAL (${recordOf('$1::text', 'u.key', 'u.committed_us')}) r`,
      [
        shape.name,
        encodeKeys(holders.map((holder) => holder.key)),
        holders.map((holder) => holder.committedUs),
      ],
    );
    const records = new Map(noted.map((row) => [row.key.toString('latin1'), versionFrom(row)]));
    return holders.map((holder) => ({
      key: holder.key,
      image: parseRecord(holder.image),
      version:
        this.#placed.get(holder.key) ??
        versionOf(
          {
            kind: 'present',
            committedUs: holder.committedUs === null ? null : Number(holder.committedUs),
            isApplied: holder.isApplied,
            record: records.get(holder.key) ?? null,
          },
          this.#region,
        ) ??
        SETTLED,
    }));
  }
}

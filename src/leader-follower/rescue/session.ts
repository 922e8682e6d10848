import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { RescueStatus } from '../delayed/rescue.ts';
import { connectAsSuperuser } from '../delayed/superuser.ts';
import { compareTable } from './compare.ts';
import type { RescueSides, TableComparison } from './compare.ts';
import { restoreTables } from './restore.ts';
import type { RestoredTable, RestorePlan } from './restore.ts';
import { readDroppedSchema } from './schema-dump.ts';
import { countTables, findTable, prepareSession } from './tables.ts';

export interface RescueSessionOptions {
  readonly config: ClusterConfig;
  readonly database: string;
  /** The delayed node, whose rescue is open. */
  readonly node: NodeConfig;
  readonly status: RescueStatus;
  readonly leader: NodeConfig;
}

/** Rows of a table, then and now; null where there was or is no such table. */
export interface TableCounts {
  readonly table: string;
  readonly past: number | null;
  readonly present: number | null;
}

/** Reads an open rescue beside the leader, and merges into that. Close it. */
export class RescueSession implements AsyncDisposable {
  readonly #options: RescueSessionOptions;
  readonly #sides: RescueSides;

  private constructor(options: RescueSessionOptions, sides: RescueSides) {
    this.#options = options;
    this.#sides = sides;
  }

  /** Throws CONFIG_INVALID when no rescue is open, and what pg throws when a server cannot be reached. */
  static async open(options: RescueSessionOptions): Promise<RescueSession> {
    const { config, database, node, leader, status } = options;
    if (status.phase !== 'open') {
      throw new LockstepError(
        'CONFIG_INVALID',
        `No rescue is open on ${node.name}${status.phase === 'idle' ? '' : ` yet (${status.phase})`}; begin with "lockstep rescue open --before <transaction>".`,
      );
    }
    const connected: pg.Client[] = [];
    try {
      for (const place of [node, leader]) {
        const client = await connectAsSuperuser(config, place, database).catch((error: unknown) => {
          throw new LockstepError(
            'CONFIG_INVALID',
            `The database ${database} on ${place.name} cannot be reached: ${(error as Error).message}. Nothing was changed.`,
            { cause: error },
          );
        });
        connected.push(client);
        await prepareSession(client);
      }
    } catch (error) {
      await Promise.all(connected.map((client) => client.end().catch(() => undefined)));
      throw error;
    }
    const [past, present] = connected as [pg.Client, pg.Client];
    const { target } = status;
    return new RescueSession(options, {
      past,
      present,
      mistake: target?.xid == null ? [] : [target.xid, ...target.subxids],
      onlyUpdated: new Set(target?.onlyUpdated ?? []),
    });
  }

  /** Every table, then and now. */
  async count(): Promise<readonly TableCounts[]> {
    const [past, present] = [await countTables(this.#sides.past), await countTables(this.#sides.present)];
    return [...new Set([...past.keys(), ...present.keys()])].toSorted().map((table) => ({
      table,
      past: past.get(table) ?? null,
      present: present.get(table) ?? null,
    }));
  }

  /** See {@link compareTable}. */
  compare(name: string, where: string | null): Promise<TableComparison> {
    return compareTable(this.#sides, name, where);
  }

  /** Keys of rows of one verdict, the first `limit` of them. */
  async keysOf(comparison: TableComparison, verdict: string, limit: number): Promise<readonly string[]> {
    const { rows } = await this.#sides.past.query<{ key: string }>(
      `SELECT key FROM ${comparison.verdicts} WHERE verdict = $1 ORDER BY key LIMIT $2`,
      [verdict, limit],
    );
    return rows.map((row) => row.key);
  }

  /** All tables that differ by the mistake; for a restore of the whole database. */
  async differing(): Promise<readonly string[]> {
    const names: string[] = [];
    for (const { table, past } of await this.count()) {
      if (past === null) continue;
      const { isWhole, counts } = await this.compare(table, null);
      if (isWhole || counts.missing + counts.changed + counts.newer > 0) names.push(table);
    }
    return names;
  }

  /** What bringing these tables back comes to; nothing is written. Parents come before those that point at them. */
  async plan(
    names: readonly string[],
    options: { readonly where: string | null; readonly keepsNewer: boolean },
  ): Promise<RestorePlan> {
    const comparisons: TableComparison[] = [];
    for (const name of new Set(names)) comparisons.push(await this.compare(name, options.where));
    const { config, database, node, leader } = this.#options;
    const hasWhole = comparisons.some(({ presentTable, table }) => presentTable?.oid !== table.oid);
    const dropped = hasWhole
      ? await readDroppedSchema({
          config,
          database,
          past: node,
          present: leader,
          pastClient: this.#sides.past,
          tables: comparisons.map(({ table }) => table),
          isGone: comparisons.some(({ presentTable }) => presentTable === null),
        })
      : null;
    // Others went with them, as a partition does with its table.
    for (const { schema, name } of dropped?.tables ?? []) {
      if (comparisons.some(({ table }) => table.schema === schema && table.name === name)) continue;
      const found = await findTable(this.#sides.past, `"${schema}"."${name}"`);
      if (found !== null) comparisons.push(await this.compare(found.sql, options.where));
    }
    return { dropped, tables: comparisons, ...options };
  }

  /** See {@link restoreTables}. */
  restore(plan: RestorePlan): Promise<readonly RestoredTable[]> {
    return restoreTables(this.#sides, plan);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { past, present } = this.#sides;
    await Promise.all([past, present].map((client) => client.end().catch(() => undefined)));
  }
}

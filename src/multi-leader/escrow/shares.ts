import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { decideGrants } from '../core/escrow-rule.ts';
import type { Grant } from '../core/escrow-rule.ts';
import { encodeKeyRow, encodeRows, keyOfRecord } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { numberedRows } from '../tables/numbered-rows.ts';
import { SCHEMA } from '../tables/statements.ts';
import { formatGrant, formatHeld, GRANT, HELD } from './share-messages.ts';
import type { GrantMessage, HeldColumn, HeldMessage } from './share-messages.ts';

export interface ShareKeeperOptions {
  /** In a session without an origin: what it gives is taken off here as by anybody. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  readonly promiseKey: Buffer;
}

interface HeldRow {
  /** The key's columns as record_send gives them. */
  readonly key: string;
  readonly held: string;
  /** As was said last; null when never. */
  readonly told: string | null;
  readonly others: readonly { readonly region: number; readonly held: string }[];
}

/** Says how much this region holds, and gives to those that have less. */
export class ShareKeeper {
  readonly #options: ShareKeeperOptions;

  constructor(options: ShareKeeperOptions) {
    this.#options = options;
  }

  /** Looks at all numbers once; gives only to `reachable` regions: what is under way to one that is cut off is nobody's. */
  async keep(reachable: ReadonlySet<number>): Promise<void> {
    for (const shape of this.#options.shapes.values())
      for (const { position, min } of shape.held) await this.#keepColumn(shape, position, min, reachable);
  }

  async #keepColumn(
    shape: TableShape,
    position: number,
    min: number,
    reachable: ReadonlySet<number>,
  ): Promise<void> {
    const column = shape.columns[position]?.name ?? '';
    for (const { key, held, told, others } of await this.#read(shape, column)) {
      const which: HeldColumn = { table: shape.name, key, column };
      if (held !== told) await this.#tell(which, held);
      const known = others
        .filter(({ region }) => reachable.has(region))
        .map((other) => ({ region: other.region, held: BigInt(other.held) }));
      for (const grant of decideGrants(BigInt(held), BigInt(min), known))
        await this.#give(shape, which, min, grant);
    }
  }

  async #read(shape: TableShape, column: string): Promise<HeldRow[]> {
    const { client, region } = this.#options;
    const key = shape.key
      .map((position) => `t.${quoteIdentifier(shape.columns[position]?.name ?? '')}`)
      .join(', ');
    const { rows } = await client.query<{ key: string; held: string }>(
      `SELECT encode(record_send(ROW(${key})), 'hex') AS key, t.${quoteIdentifier(column)}::text AS held
       FROM ${quoteShape(shape)} t WHERE t.${quoteIdentifier(column)} IS NOT NULL`,
    );
    const { rows: shares } = await client.query<{ key: Buffer; region: number; held: string }>(
      `SELECT key, region, held::text AS held FROM ${SCHEMA}.shares WHERE table_name = $1 AND column_name = $2`,
      [shape.name, column],
    );
    const known = Map.groupBy(shares, (share) => share.key.toString('latin1'));
    return rows.map((row) => {
      const name = keyOfRecord(Buffer.from(row.key, 'hex'));
      const all = known.get(name) ?? [];
      return {
        key: name,
        held: row.held,
        told: all.find((share) => share.region === region)?.held ?? null,
        others: all.filter((share) => share.region !== region),
      };
    });
  }

  async #tell(which: HeldColumn, held: string): Promise<void> {
    const { client, region, promiseKey } = this.#options;
    await this.#transaction(async () => {
      await noteShares(client, region, [{ ...which, held }]);
      await emit(client, HELD, formatHeld({ ...which, held }, promiseKey));
    });
  }

  /** Takes it off here and says so in one transaction; not what the app has sold meanwhile. */
  async #give(shape: TableShape, which: HeldColumn, min: number, { to, amount }: Grant): Promise<void> {
    const { client, promiseKey } = this.#options;
    await this.#transaction(async () => {
      const isTaken = await addTo(client, shape, which, -amount, min);
      if (!isTaken) return;
      await emit(client, GRANT, formatGrant({ ...which, to, amount: String(amount) }, promiseKey));
      await client.query(
        `UPDATE ${SCHEMA}.shares SET held = held + $5
         WHERE table_name = $1 AND key = $2 AND column_name = $3 AND region = $4`,
        [which.table, Buffer.from(which.key, 'latin1'), which.column, to, String(amount)],
      );
    });
  }

  async #transaction(work: () => Promise<void>): Promise<void> {
    const { client } = this.#options;
    await client.query('BEGIN');
    try {
      // The app's triggers are for what the app does.
      await client.query('SET LOCAL session_replication_role = replica');
      await work();
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
}

async function emit(client: pg.Client, prefix: string, message: string): Promise<void> {
  await client.query('SELECT pg_logical_emit_message(true, $1, $2)', [prefix, message]);
}

/** Whether there was such a row with so much. */
async function addTo(
  client: pg.Client,
  shape: TableShape,
  { key, column }: HeldColumn,
  amount: bigint,
  min: number | null,
): Promise<boolean> {
  const name = quoteIdentifier(column);
  const { rowCount } = await client.query(
    `UPDATE ${quoteShape(shape)} t SET ${name} = t.${name} + $2::bigint FROM ${numberedRows(shape, 'WHERE')}
     AND ($3::bigint IS NULL OR t.${name} + $2::bigint >= $3)`,
    [encodeRows(shape, [encodeKeyRow(shape, key)]), String(amount), min],
  );
  return rowCount === 1;
}

/** Adds what was given to this region, within the batch's transaction. */
export async function receiveGrants(
  client: pg.Client,
  shapes: ReadonlyMap<string, TableShape>,
  grants: readonly GrantMessage[],
): Promise<void> {
  for (const grant of grants) {
    const shape = shapes.get(grant.table);
    const isHeld = shape?.held.some(({ position }) => shape.columns[position]?.name === grant.column);
    if (shape !== undefined && isHeld === true) await addTo(client, shape, grant, BigInt(grant.amount), null);
  }
}

/** Notes what a region said that it holds. */
export async function noteShares(
  client: pg.Client,
  region: number,
  shares: readonly HeldMessage[],
): Promise<void> {
  for (const { table, key, column, held } of shares) {
    await client.query(
      `INSERT INTO ${SCHEMA}.shares (table_name, key, column_name, region, held) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (table_name, key, column_name, region) DO UPDATE SET held = excluded.held`,
      [table, Buffer.from(key, 'latin1'), column, region, held],
    );
  }
}

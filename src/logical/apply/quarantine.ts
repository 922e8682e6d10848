import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { PipelineStatement } from '../../wire/raw/pipeline.ts';
import type { Change } from '../core/change.ts';
import { referencedNames, rowNames } from './core/compile.ts';
import type { PlanOf } from './core/compile.ts';
import type { PendingTransaction } from './core/pending.ts';
import { encodeTransaction } from './core/serialize.ts';
import { OWN_SCHEMA } from './own-schema.ts';

const INSERT = `INSERT INTO ${OWN_SCHEMA}.quarantine
  (follow, position, xid, committed_at, tables, keys, sqlstate, error, format, messages)
  SELECT $1::text, $2::text::pg_lsn, $3::text::bigint, to_timestamp($4::text::float8 / 1000000),
         $5::text::text[], $6::text::text[], $7::text, $8::text, $9::text, $10::bytea`;
/** Of a transaction that is kept because an earlier one is. PostgreSQL uses no class that begins with L. */
const DEPENDS = 'LS001';

/** Before the name of a row that a kept transaction's rows refer to. */
const REFERENCE = '> ';

/**
 * Transactions that could not be applied, and the rows that therefore stand still. A change depends on them when it is of
 * one of these rows, when its row refers to one of them, or when it removes a row that one of them refers to.
 */
export class Quarantine {
  readonly #follow: string;
  #names = new Set<string>();
  #tables = new Set<string>();
  #referenced = new Set<string>();

  private constructor(follow: string, names: readonly string[]) {
    this.#follow = follow;
    this.#remember(names);
  }

  /** One that holds nothing, and is kept nowhere. */
  static empty(follow: string): Quarantine {
    return new Quarantine(follow, []);
  }

  static async load(client: pg.Client, follow: string): Promise<Quarantine> {
    return new Quarantine(follow, await readNames(client, follow));
  }

  /** Reads anew what people have left in it. */
  async reload(client: pg.Client): Promise<void> {
    const names = await readNames(client, this.#follow);
    this.#names = new Set();
    this.#tables = new Set();
    this.#referenced = new Set();
    this.#remember(names);
  }

  #remember(names: readonly string[]): void {
    for (const name of names) {
      if (name.startsWith(REFERENCE)) this.#referenced.add(name.slice(REFERENCE.length));
      else {
        this.#names.add(name);
        this.#tables.add(tableOf(name));
      }
    }
  }

  /** Whether any of the changes is of a row that stands still. */
  concerns(changes: readonly Change[], planOf: PlanOf): boolean {
    if (this.#names.size === 0) return false;
    const standsStill = (name: string): boolean =>
      this.#names.has(name) ||
      this.#names.has(`${tableOf(name)} *`) ||
      (name.endsWith(' *') && this.#tables.has(tableOf(name)));
    return changes.some((change) => {
      const own = rowNames(change, planOf);
      if (own.some(standsStill) || referencedNames(change, planOf).some(standsStill)) return true;
      const removes = change.kind === 'delete' || (change.kind === 'update' && own.length > 1);
      return removes && own.some((name) => this.#referenced.has(name));
    });
  }

  /** What keeps a transaction; an error of null says that it depends on one that is kept. */
  statement(
    transaction: PendingTransaction,
    error: Error | null,
    format: 'binary' | 'text',
    planOf: PlanOf,
  ): PipelineStatement {
    const names = allNamesOf(transaction, planOf);
    const values = [
      this.#follow,
      formatLsn(transaction.endLsn),
      String(transaction.xid),
      String(transaction.committedAtMicros),
      arrayLiteral([...new Set(namesOf(transaction, planOf).map(tableOf))]),
      arrayLiteral(names),
      (error as { code?: string } | null)?.code ?? DEPENDS,
      error?.message ?? 'a row that it changes is in quarantine',
      format,
    ];
    return {
      text: INSERT,
      values: [...values.map((value) => Buffer.from(value)), encodeTransaction(transaction)],
    };
  }

  /** Takes note of what {@link statement} has kept. */
  add(transaction: PendingTransaction, planOf: PlanOf): void {
    this.#remember(allNamesOf(transaction, planOf));
  }
}

function allNamesOf(transaction: PendingTransaction, planOf: PlanOf): string[] {
  const { changes } = transaction;
  const referenced = new Set(changes.flatMap((change) => referencedNames(change, planOf)));
  return [...namesOf(transaction, planOf), ...[...referenced].map((name) => `${REFERENCE}${name}`)];
}

function namesOf(transaction: PendingTransaction, planOf: PlanOf): string[] {
  return [...new Set(transaction.changes.flatMap((change) => rowNames(change, planOf)))];
}

function tableOf(name: string): string {
  return name.slice(0, name.lastIndexOf(' '));
}

function arrayLiteral(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`).join(',')}}`;
}

async function readNames(client: pg.Client, follow: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT DISTINCT unnest(keys) AS name FROM ${OWN_SCHEMA}.quarantine WHERE follow = $1`,
    [follow],
  );
  return rows.map(({ name }) => name);
}

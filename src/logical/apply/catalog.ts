import type pg from 'pg';
import { quoteIdentifier, quoteLiteral } from '../core/quote.ts';
import type { Relation } from '../core/relation.ts';
import { planTable } from './core/table-plan.ts';
import type { PlanResult } from './core/table-plan.ts';
import type { ForeignKey, PgType, TargetColumn, TargetTable, TypeKind } from './core/target-table.ts';
import { OWN_SCHEMA } from './own-schema.ts';

const TYPES_SQL = `
SELECT t.oid::int8::text AS oid, n.nspname AS schema, t.typname AS name, t.typtype AS kind,
       CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.typbasetype END::int8::text AS inner_oid,
       t.typcategory = 'A' AND t.typelem <> 0 AS is_array,
       t.typsend <> 0 AND t.typreceive <> 0 AND t.typarray <> 0 OR t.typcategory = 'A' AS is_sendable
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace`;

interface TypeRow {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly inner_oid: string;
  readonly is_array: boolean;
  readonly is_sendable: boolean;
}

const KINDS: Readonly<Record<string, TypeKind>> = {
  b: 'base',
  c: 'composite',
  d: 'domain',
  e: 'enum',
  r: 'range',
  m: 'multirange',
};

/** The types of one server, as far as they have been asked for. */
class Types {
  readonly #client: pg.Client;
  readonly #rows = new Map<number, TypeRow>();

  constructor(client: pg.Client) {
    this.#client = client;
  }

  /** Reads those that are not known yet, with what they are made of. */
  async load(oids: Iterable<number>): Promise<void> {
    let wanted = [...new Set(oids)].filter((oid) => oid !== 0 && !this.#rows.has(oid));
    while (wanted.length > 0) {
      const { rows } = await this.#client.query<TypeRow>(
        `${TYPES_SQL} WHERE t.oid = ANY ($1::int8[]::oid[])`,
        [wanted],
      );
      for (const row of rows) this.#rows.set(Number(row.oid), row);
      wanted = rows.map((row) => Number(row.inner_oid)).filter((oid) => oid !== 0 && !this.#rows.has(oid));
    }
  }

  get(oid: number): PgType | undefined {
    const row = this.#rows.get(oid);
    const kind = row?.is_array === true ? 'array' : KINDS[row?.kind ?? ''];
    if (row === undefined || kind === undefined) return undefined;
    return {
      oid,
      schema: row.schema,
      name: row.name,
      kind,
      inner: this.get(Number(row.inner_oid)) ?? null,
      isSendable: row.is_sendable,
    };
  }
}

const COLUMNS_SQL = `
SELECT c.oid::int8::text AS table_oid, a.attname AS name, a.atttypid::int8::text AS type_oid,
       a.attgenerated <> '' AS is_generated, a.attidentity = 'a' AS is_identity_always, c.relkind = 'p' AS is_partitioned,
       CASE WHEN r.rolsuper AND r.oid <> c.relowner THEN pg_catalog.pg_get_userbyid(c.relowner) END AS runs_as
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_roles r ON r.rolname = current_user
 WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
 ORDER BY a.attnum`;

const KEYS_SQL = `
SELECT array_agg(a.attname ORDER BY k.position)::text[] AS names
  FROM pg_catalog.pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
   AND i.indpred IS NULL AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
 GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull)
 ORDER BY i.indisprimary DESC`;

const FOREIGN_KEYS_SQL = `
SELECT n.nspname AS schema, p.relname AS name, array_agg(a.attname ORDER BY b.attnum)::text[] AS columns
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
  CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS u (child, parent)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
  JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.parent
 WHERE k.contype = 'f' AND k.conrelid = $1::int8::oid
 GROUP BY k.oid, n.nspname, p.relname, p.oid, p.relreplident
HAVING bool_and(a.atttypid = b.atttypid) AND array_agg(b.attnum ORDER BY b.attnum) = (
         SELECT array_agg(x ORDER BY x) FROM pg_catalog.pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) AS x
          WHERE i.indrelid = p.oid
            AND CASE p.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END)`;

/** Fits the source's tables to the target's, by what both catalogs say. */
export class Catalog {
  readonly #source: pg.Client;
  readonly #target: pg.Client;
  readonly #sourceTypes: Types;
  readonly #targetTypes: Types;

  /** Both clients stay the caller's. */
  constructor(source: pg.Client, target: pg.Client) {
    this.#source = source;
    this.#target = target;
    this.#sourceTypes = new Types(source);
    this.#targetTypes = new Types(target);
  }

  async plan(relation: Relation, format: 'binary' | 'text'): Promise<PlanResult> {
    await this.#sourceTypes.load(relation.columns.map(({ typeOid }) => typeOid));
    const target = await this.#readTable(relation, format === 'binary');
    const { rows: foreignKeys } = await this.#source.query<ForeignKey>(FOREIGN_KEYS_SQL, [relation.oid]);
    return planTable({
      relation,
      target,
      format,
      foreignKeys,
      typeOf: (oid) => this.#sourceTypes.get(oid),
    });
  }

  /** Null when the target has no such table. */
  async #readTable(
    table: { readonly schema: string; readonly name: string },
    wrapsArrays: boolean,
  ): Promise<TargetTable | null> {
    const { rows } = await this.#target.query<{
      table_oid: string;
      name: string;
      type_oid: string;
      is_generated: boolean;
      is_identity_always: boolean;
      is_partitioned: boolean;
      runs_as: string | null;
    }>(COLUMNS_SQL, [table.schema, table.name]);
    const [first] = rows;
    if (first === undefined) return null;
    await this.#targetTypes.load(rows.map((row) => Number(row.type_oid)));
    const columns: TargetColumn[] = [];
    for (const row of rows) {
      const type = this.#targetTypes.get(Number(row.type_oid));
      if (type === undefined) throw new Error(`type ${row.type_oid} of ${table.name}.${row.name} is unknown`);
      columns.push({
        name: row.name,
        type,
        isGenerated: row.is_generated,
        isIdentityAlways: row.is_identity_always,
        wrapper: wrapsArrays && type.kind === 'array' ? await this.#wrap(type) : null,
      });
    }
    if (first.runs_as !== null && columns.some(({ wrapper }) => wrapper !== null))
      await this.#target.query(`GRANT USAGE ON SCHEMA ${OWN_SCHEMA} TO ${quoteIdentifier(first.runs_as)}`);
    const keys = await this.#target.query<{ names: string[] }>(KEYS_SQL, [first.table_oid]);
    return {
      schema: table.schema,
      name: table.name,
      runsAs: first.runs_as,
      isPartitioned: first.is_partitioned,
      columns,
      keys: keys.rows.map(({ names }) => names),
    };
  }

  /** The domain over an array type; it is made with the first column that needs it. */
  async #wrap(type: PgType): Promise<{ readonly oid: number; readonly sql: string }> {
    const name = `array_of_${type.inner?.schema ?? ''}.${type.inner?.name ?? ''}`;
    const sql = `${OWN_SCHEMA}.${quoteIdentifier(name)}`;
    const find = async (): Promise<number | null> =>
      (
        await this.#target.query<{ oid: string | null }>(
          `SELECT pg_catalog.to_regtype(${quoteLiteral(sql)})::oid::int8::text AS oid`,
        )
      ).rows.map(({ oid }) => (oid === null ? null : Number(oid)))[0] ?? null;
    let oid = await find();
    if (oid === null) {
      await this.#target.query(
        `CREATE DOMAIN ${sql} AS ${quoteIdentifier(type.schema)}.${quoteIdentifier(type.name)}`,
      );
      oid = await find();
    }
    if (oid === null) throw new Error(`domain ${sql} was made and is not there`);
    return { oid, sql };
  }
}

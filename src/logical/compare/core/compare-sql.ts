import { quoteIdentifier, quoteLiteral, quoteTable } from '../../core/quote.ts';
import type { TablePlan } from '../../apply/core/table-plan.ts';

/** A key as text, column by column; null for a key column that is NULL. */
export type Key = readonly string[];

/** Rows with keys above `after` and up to `upTo`; null for no bound. Neighbours share no row and leave none out. */
export interface KeyRange {
  readonly after: Key | null;
  readonly upTo: Key | null;
}

interface ComparedColumn {
  readonly name: string;
  readonly cast: string;
  /** Whether both servers have it as the same bytes; where not, it is compared as text. */
  readonly isSame: boolean;
}

/** Types of PostgreSQL's own whose binary format says all of a value, faster than text does. */
const SAME_BYTES = new Set([16, 17, 20, 21, 23, 25, 700, 701, 1043, 1082, 1083, 1114, 1184, 1700, 2950]);
/** Parts of a range, by a hash of the key: where few rows differ, few are looked at. */
const BUCKETS = 256;

/** Statements over one table; they mean the same on both servers. Made with a plan of the format `text`. */
export class CompareSql {
  readonly #table: string;
  readonly #keys: readonly ComparedColumn[];
  readonly #columns: readonly ComparedColumn[];
  /** With whose rights the target's rows are changed; null: with the session's. */
  readonly owner: string | null;

  constructor(plan: TablePlan) {
    this.owner = plan.owner;
    this.#table = quoteTable(plan.relation);
    const compared = plan.columns.map((column, index): ComparedColumn | null => {
      if (column === null) return null;
      const { typeOid } = column;
      const isSame = SAME_BYTES.has(typeOid) && plan.relation.columns[index]?.typeOid === typeOid;
      return { name: quoteIdentifier(column.name), cast: column.cast, isSame };
    });
    this.#columns = compared.flatMap((column) => column ?? []);
    this.#keys = plan.key.flatMap((index) => compared[index] ?? []);
  }

  /** The table without a key can only be compared as a whole. */
  get hasKey(): boolean {
    return this.#keys.length > 0;
  }

  /** The key so many rows above another, if there are so many. */
  boundary(after: Key | null, rows: number): { readonly text: string; readonly values: readonly unknown[] } {
    const where = after === null ? '' : ` WHERE ${this.#keyRow('t')} > ${this.#bound(0)}`;
    const list = this.#keys.map(({ name }) => `t.${name}::text`).join(', ');
    return {
      text: `SELECT ARRAY[${list}] AS key FROM ${this.#table} t${where} ORDER BY ${this.#keyList('t')} OFFSET ${rows - 1} LIMIT 1`,
      values: after === null ? [] : [...after],
    };
  }

  /** By bucket how many rows, and two sums over them: a difference of one row cannot hide behind another's. */
  sums(range: KeyRange): { readonly text: string; readonly values: readonly unknown[] } {
    const { where, values } = this.#where(range);
    const bytes = `SELECT ${this.#bucket('t')} AS bucket, ${bytesOf('t', this.#columns)} AS r FROM ${this.#table} t${where} OFFSET 0`;
    const hashes = `SELECT bucket, ${hashOf('r', 1)} AS one, ${hashOf('r', 2)} AS two FROM (${bytes}) b OFFSET 0`;
    return {
      text: `SELECT bucket, count(*)::text AS count, sum(one)::text AS one, sum(two)::text AS two FROM (${hashes}) h GROUP BY bucket`,
      values,
    };
  }

  /** What moves the rows of a range from one server to the other, as text. */
  copyRange({ after, upTo }: KeyRange): { readonly copyOut: string; readonly copyIn: string } {
    const bound = (key: Key): string =>
      `(${this.#keys.map(({ cast }, index) => `${quoteLiteral(key[index] ?? '')}${cast}`).join(', ')})`;
    const conditions = [
      ...(after === null ? [] : [`${this.#keyRow('t')} > ${bound(after)}`]),
      ...(upTo === null ? [] : [`${this.#keyRow('t')} <= ${bound(upTo)}`]),
    ];
    const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
    const list = this.#columns.map(({ name }) => name).join(', ');
    return {
      copyOut: `COPY (SELECT ${list} FROM ${this.#table} t${where}) TO STDOUT`,
      copyIn: `COPY ${this.#table} (${list}) FROM STDIN`,
    };
  }

  /** Each row's key and hash; `buckets`: of only these. */
  rows(
    range: KeyRange,
    buckets: readonly number[] | null = null,
  ): { readonly text: string; readonly values: readonly unknown[] } {
    const { where, values } = this.#where(range);
    const list = this.#keys.map(({ name }) => `t.${name}::text`).join(', ');
    const all = `SELECT ARRAY[${list}] AS key, ${this.#hash('t')} AS hash FROM ${this.#table} t${where}`;
    if (buckets === null) return { text: all, values };
    const also = `${where === '' ? ' WHERE' : ' AND'} ${this.#bucket('t')} = ANY ($${values.length + 1}::int8[])`;
    return { text: `${all}${also}`, values: [...values, buckets] };
  }

  /** The hashes of the rows with these keys, by their number from 1. */
  byKeys(keys: readonly Key[]): { readonly text: string; readonly values: readonly unknown[] } {
    return {
      text: `SELECT u.n::int AS n, ${this.#hash('t')} AS hash FROM ${this.#unnested()} JOIN ${this.#table} t ON ${this.#match()}`,
      values: this.#keys.map((_, index) => keys.map((key) => key[index] ?? null)),
    };
  }

  /** All of the rows with these keys, each column as text. */
  read(keys: readonly Key[]): { readonly text: string; readonly values: readonly unknown[] } {
    const list = this.#columns.map(({ name }) => `t.${name}::text`).join(', ');
    return {
      text: `SELECT ARRAY[${list}] AS row FROM ${this.#unnested()} JOIN ${this.#table} t ON ${this.#match()}`,
      values: this.#keys.map((_, index) => keys.map((key) => key[index] ?? null)),
    };
  }

  remove(keys: readonly Key[]): { readonly text: string; readonly values: readonly unknown[] } {
    return {
      text: `DELETE FROM ${this.#table} t USING ${this.#unnested()} WHERE ${this.#match()}`,
      values: this.#keys.map((_, index) => keys.map((key) => key[index] ?? null)),
    };
  }

  /** Rows as {@link read} gives them. */
  insert(rows: readonly (readonly (string | null)[])[]): {
    readonly text: string;
    readonly values: readonly unknown[];
  } {
    const names = this.#columns.map(({ name }) => name).join(', ');
    const values = this.#columns.map(({ cast }, index) => `u.c${index}${cast}`).join(', ');
    const arrays = this.#columns.map((_, index) => `$${index + 1}::text[]`).join(', ');
    const aliases = this.#columns.map((_, index) => `c${index}`).join(', ');
    return {
      text: `INSERT INTO ${this.#table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${values} FROM unnest(${arrays}) AS u(${aliases})`,
      values: this.#columns.map((_, index) => rows.map((row) => row[index] ?? null)),
    };
  }

  #hash(alias: string): string {
    const bytes = bytesOf(alias, this.#columns);
    return `${hashOf(bytes, 1)}::text || '.' || ${hashOf(bytes, 2)}::text`;
  }

  #bucket(alias: string): string {
    return `(${hashOf(bytesOf(alias, this.#keys), 3)} & ${BUCKETS - 1})`;
  }

  #keyList(alias: string): string {
    return this.#keys.map(({ name }) => `${alias}.${name}`).join(', ');
  }

  #keyRow(alias: string): string {
    return `(${this.#keyList(alias)})`;
  }

  #bound(first: number): string {
    return `(${this.#keys.map(({ cast }, index) => `$${first + index + 1}::text${cast}`).join(', ')})`;
  }

  #where({ after, upTo }: KeyRange): { readonly where: string; readonly values: readonly unknown[] } {
    const conditions: string[] = [];
    const values: unknown[] = [];
    for (const [operator, bound] of [
      ['>', after],
      ['<=', upTo],
    ] as const) {
      if (bound === null) continue;
      conditions.push(`${this.#keyRow('t')} ${operator} ${this.#bound(values.length)}`);
      values.push(...bound);
    }
    return { where: conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`, values };
  }

  #unnested(): string {
    const arrays = this.#keys.map((_, index) => `$${index + 1}::text[]`).join(', ');
    const aliases = this.#keys.map((_, index) => `k${index}`).join(', ');
    return `unnest(${arrays}) WITH ORDINALITY AS u(${aliases}, n)`;
  }

  #match(): string {
    return this.#keys.map(({ name, cast }, index) => `t.${name} = u.k${index}${cast}`).join(' AND ');
  }
}

/** The same bytes whatever the collation and the encoding of the database. */
function bytesOf(alias: string, columns: readonly ComparedColumn[]): string {
  const values = columns.map(({ name, isSame }) => `${alias}.${name}${isSame ? '' : '::text'}`);
  return `record_send(ROW(${values.join(', ')}))`;
}

/** Of a bytea. Only as a record's may it be hashed by SQL. */
function hashOf(bytes: string, seed: number): string {
  return `hash_record_extended(ROW(${bytes}), ${seed})`;
}

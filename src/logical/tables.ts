import type pg from 'pg';
import { LockstepError } from '../model/errors.ts';
import type { Relation, RelationColumn, ReplicaIdentity } from './core/relation.ts';

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** `orders, shop.products` as names; `public` where no schema is given. Throws CONFIG_INVALID. */
export function parseTables(text: string): readonly TableName[] {
  const tables = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const [first = '', second, ...rest] = part.split('.');
      if (first === '' || second === '' || rest.length > 0) {
        throw new LockstepError('CONFIG_INVALID', `"${part}" is not a table; write name or schema.name.`);
      }
      return second === undefined ? { schema: 'public', name: first } : { schema: first, name: second };
    });
  if (tables.length === 0) {
    throw new LockstepError('CONFIG_INVALID', "Name the tables to follow, like --tables 'orders,products'.");
  }
  return tables;
}

/** As pg_class has them. */
export const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: 'default',
  n: 'nothing',
  f: 'full',
  i: 'index',
};

/** Behind attribute `a` of table `c`: whether it is part of the replica identity, as `k.is_key`. */
export const KEY_OF_ATTRIBUTE = `LEFT JOIN LATERAL (
  SELECT true AS is_key FROM pg_index i
   WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
     AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END LIMIT 1) k ON true`;

/** Tables as they would come in a stream, whether they are published or not. Throws CONFIG_INVALID for one that is not there. */
export async function readTables(client: pg.Client, tables: readonly TableName[]): Promise<Relation[]> {
  const relations: Relation[] = [];
  for (const { schema, name } of tables) {
    const { rows } = await client.query<{ oid: string; identity: string; columns: RelationColumn[] }>(
      `SELECT c.oid::int8::text AS oid, c.relreplident AS identity,
              (SELECT json_agg(json_build_object('name', a.attname, 'typeOid', a.atttypid::int8,
                        'typeModifier', a.atttypmod, 'isKey', coalesce(k.is_key, false)) ORDER BY a.attnum)
                 FROM pg_attribute a ${KEY_OF_ATTRIBUTE}
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`,
      [schema, name],
    );
    const [row] = rows;
    if (row === undefined) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There is no table ${schema}.${name} at the source; name another.`,
      );
    }
    const replicaIdentity = IDENTITIES[row.identity] ?? 'default';
    relations.push({ oid: Number(row.oid), schema, name, replicaIdentity, columns: row.columns });
  }
  return relations;
}

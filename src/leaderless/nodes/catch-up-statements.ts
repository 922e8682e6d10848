import type { Cell, Store } from '../core/cells.ts';
import type { CollectionName, KindName, NodeReply, NodeRequest } from './requests.ts';
import { registerColumns, tallyColumns } from './merge-statement.ts';
import { decodeCell } from './statements.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;
type Row = readonly unknown[];

const SCHEMA = 'lockstep_leaderless';
/** The end of a value that has none. */
const NEVER = '9223372036854775807';
/** Any number that nothing else locks: one session at a time takes names out. */
const TRIM_LOCK = 7_212_019;
const HORIZON = 'horizon AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest)';

/** Rows that changed from a number on; ordered by their change, they are found one after another. */
const CHANGED: Readonly<Record<Store, string>> = {
  registers: `${SCHEMA}.changed_registers l CROSS JOIN unnest(l.collections, l.keys, l.fields) AS u(c, k, f)
          JOIN ${SCHEMA}.registers r ON r.collection = coalesce(u.c, l.collections[1]) AND r.key = u.k AND r.field = coalesce(u.f, l.fields[1])
            AND r.change = l.change
        WHERE l.change >= $1::text::xid8 AND l.change < (SELECT oldest FROM horizon)`,
  tallies: `${SCHEMA}.tallies r WHERE r.change >= $1::text::xid8 AND r.change < (SELECT oldest FROM horizon)`,
};

/** What a listing tells of each row, besides its collection. */
const LISTED: Readonly<Record<Store, readonly string[]>> = {
  registers: ['key', 'field', 'NULL::text', 'at', 'writer', 'expires_at_ms'],
  tallies: ['key', 'item', 'actor', 'added', 'removed', 'born_at'],
};

/** Of a row: what differs whenever a node lacks something of it. */
const STATE: Readonly<Record<Store, string>> = {
  registers: 'r.collection, r.key, r.field, r.at, r.writer, r.expires_at_ms',
  tallies: 'r.collection, r.key, r.item, r.actor, r.added, r.removed',
};

/**
 * What changed from a number on, whole transactions only, and below the oldest transaction that still runs: numbers are
 * taken before the commit and become visible out of order. Registers come without their values, and all in arrays, one row for
 * each collection: rows would take twice the bytes.
 */
export function changesStatement({ store, from, limit }: Request<'changes'>): Statement {
  const columns = LISTED[store].filter((column) => !column.startsWith('NULL'));
  return {
    name: `lockstep_changes_${store}`,
    text: `WITH ${HORIZON}, page AS (
        SELECT r.* FROM ${CHANGED[store]}
        ORDER BY r.change FETCH FIRST $2 ROWS WITH TIES)
      SELECT min(h.oldest::text::bigint), p.collection, min(c.kind), max(p.change::text::bigint), ${columns.map((column) => `array_agg(p.${column})`).join(', ')}
      FROM horizon h LEFT JOIN page p ON true LEFT JOIN ${SCHEMA}.collections c ON c.name = p.collection GROUP BY p.collection`,
    values: [String(from), limit],
    decode: (rows) => [decodeChanges(store, limit, rows)],
  };
}

function decodeChanges(store: Store, limit: number, rows: readonly Row[]): NodeReply {
  const oldest = rows[0]?.[0] as number;
  let last = 0;
  const changes = rows.flatMap(([, name, kind, change, ...arrays]) => {
    // Nothing changed.
    if (name === null) return [];
    last = Math.max(last, change as number);
    const collection: CollectionName = { name: name as string, kind: kind as KindName };
    const columns = LISTED[store].map((column) => (column.startsWith('NULL') ? null : arrays.shift()));
    const [keys] = columns as [readonly string[]];
    return keys.map((_, index) => {
      const row = columns.map((column) => (column === null ? null : (column as unknown[])[index]));
      return { cell: decodeCell(store, [name, ...row.map(numbersIn(store))]), collection };
    });
  });
  const isWhole = changes.length < limit;
  return { kind: 'changes', changes, next: isWhole ? oldest : last + 1, isWhole };
}

/** Numbers in an array come as texts. */
function numbersIn(store: Store): (value: unknown, column: number) => unknown {
  const numeric = store === 'registers' ? [3, 5] : [3, 4, 5];
  return (value, column) => (value !== null && numeric.includes(column) ? Number(value) : value);
}

/** A digest of what changed from a number on: two nodes with the same one hold the same of it. */
export function digestStatement({ store, from, limit, seed }: Request<'digest'>): Statement {
  return {
    name: `lockstep_digest_${store}`,
    text: `WITH ${HORIZON}, page AS (
        SELECT hash_record_extended(ROW(${STATE[store]}), $3) AS hash FROM ${CHANGED[store]}
        ORDER BY r.change LIMIT $2)
      SELECT (SELECT oldest FROM horizon)::text::bigint, count(*), sum(hash)::text FROM page`,
    values: [String(from), limit + 1, seed],
    decode: ([row]) => {
      const [next, count, sum] = (row ?? []) as readonly [number, number, string | null];
      return [{ kind: 'digest', count, digest: count > limit ? null : `${count} ${sum}`, next }];
    },
  };
}

/** Takes out names of registers that changed again or are gone: those that are left by a later change are named by that one. */
export function trimStatement({ from, limit }: Request<'trim'>): Statement {
  const left = (column: string): string => `array_agg(r.${column}) FILTER (WHERE r.key IS NOT NULL)`;
  return {
    name: 'lockstep_trim',
    text: `WITH horizon AS MATERIALIZED (
        SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest WHERE pg_try_advisory_xact_lock(${TRIM_LOCK})), page AS MATERIALIZED (
        SELECT l.ctid AS id, l.* FROM ${SCHEMA}.changed_registers l
        WHERE l.change >= $1::text::xid8 AND l.change < (SELECT oldest FROM horizon) ORDER BY l.change LIMIT $2), named AS MATERIALIZED (
        SELECT p.id, p.change, count(*) AS names, count(r.key) AS kept,
          ${left('collection')} AS collections, ${left('key')} AS keys, ${left('field')} AS fields
        FROM page p CROSS JOIN unnest(p.collections, p.keys, p.fields) AS u(c, k, f)
        LEFT JOIN ${SCHEMA}.registers r ON r.collection = coalesce(u.c, p.collections[1]) AND r.key = u.k
          AND r.field = coalesce(u.f, p.fields[1]) AND r.change = p.change
        GROUP BY p.id, p.change), gone AS (
        DELETE FROM ${SCHEMA}.changed_registers l USING named n WHERE l.ctid = n.id AND n.kept = 0), cut AS (
        UPDATE ${SCHEMA}.changed_registers l SET collections = n.collections, keys = n.keys, fields = n.fields FROM named n
        WHERE l.ctid = n.id AND n.kept > 0 AND n.kept < n.names)
      SELECT count(*), sum(names)::bigint, sum(kept)::bigint, max(change::text::bigint) FROM named`,
    values: [String(from), limit],
    decode([row]) {
      const [count, names, kept, last] = (row ?? []) as readonly (number | null)[];
      const isWhole = (count ?? 0) < limit;
      return [
        {
          kind: 'trimmed',
          names: names ?? 0,
          kept: kept ?? 0,
          next: last == null ? from : last + 1,
          isWhole,
        },
      ];
    },
  };
}

/** Which of these cells the node lacks, or has an older state of. */
export function lackingStatement({ store, cells }: Request<'lacking'>): Statement {
  // An absent cell from below the floor is one that was forgotten.
  const floor = `(SELECT floor FROM ${SCHEMA}.node)`;
  const isOlder =
    store === 'registers'
      ? `(r.at IS NULL AND u.at > ${floor}) OR
         (r.at, r.writer, coalesce(r.expires_at_ms, ${NEVER})) < (u.at, coalesce(u.writer, ($5::text[])[1]), coalesce(u.expiry, ${NEVER}))`
      : `(r.added IS NULL AND u.born > ${floor}) OR r.added < u.added OR r.removed < coalesce(u.removed, ($6::bigint[])[1])`;
  const source =
    store === 'registers'
      ? `unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) WITH ORDINALITY
         AS u(c, k, f, at, writer, expiry, o) LEFT JOIN ${SCHEMA}.registers r
         ON r.collection = coalesce(u.c, ($1::text[])[1]) AND r.key = u.k AND r.field = coalesce(u.f, ($3::text[])[1])`
      : `unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) WITH ORDINALITY AS u(c, k, i, a, added, removed, born, o)
         LEFT JOIN ${SCHEMA}.tallies r ON r.collection = coalesce(u.c, ($1::text[])[1]) AND r.key = u.k AND r.item = u.i AND r.actor = u.a`;
  return {
    name: `lockstep_lacking_${store}`,
    text: `SELECT array_agg(u.o) FROM ${source} WHERE ${isOlder}`,
    values:
      store === 'registers'
        ? withoutValues(registerColumns(cells.filter((cell) => cell.store === 'registers')))
        : tallyColumns(cells.filter((cell) => cell.store === 'tallies')),
    decode: ([row]) => {
      const ordinals = (row?.[0] as readonly unknown[] | null) ?? [];
      return [
        { kind: 'cells', cells: ordinals.flatMap((ordinal) => cells[Number(ordinal) - 1] ?? ([] as Cell[])) },
      ];
    },
  };
}

function withoutValues(columns: readonly Buffer[]): readonly Buffer[] {
  return columns.filter((_, index) => index !== 3);
}

/** How far this node has seen another one's changes. */
export function seenStatement({ source, store }: Request<'seen'>): Statement {
  return {
    name: 'lockstep_seen',
    text: `SELECT max(seen::text::bigint), max(own::text::bigint) FROM ${SCHEMA}.peers WHERE source = $1 AND store = $2`,
    values: [source, store],
    decode: ([row]) => {
      const [seen, own] = (row ?? []) as readonly (number | null)[];
      return [{ kind: 'seen', seen: seen ?? 0, own: own ?? 0 }];
    },
  };
}

/** It only grows: several processes may bring it on. */
export function noteSeenStatement({ source, store, seen, isLevel }: Request<'note-seen'>): Statement {
  return {
    name: 'lockstep_note_seen',
    text: `INSERT INTO ${SCHEMA}.peers AS p (source, store, seen, own)
      VALUES ($1, $2, $3::text::xid8, CASE WHEN $4 THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE '0'::xid8 END)
      ON CONFLICT (source, store) DO UPDATE SET seen = excluded.seen, own = CASE WHEN $4 THEN excluded.own ELSE p.own END
      WHERE p.seen < excluded.seen`,
    values: [source, store, String(seen), isLevel],
    decode: () => [{ kind: 'done' }],
  };
}

import type { Cell, Store } from '../core/cells.ts';
import type { NodeReply, NodeRequest } from './requests.ts';
import { COLUMNS, decodeCell } from './statements.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;
type Row = readonly unknown[];

const SCHEMA = 'lockstep_leaderless';
/** The end of a value that has none. */
const NEVER = '9223372036854775807';

/**
 * What changed from a number on, whole transactions only, and below the oldest transaction that still runs: numbers are
 * taken before the commit and become visible out of order. Registers come without their values.
 */
export function changesStatement({ store, from, limit }: Request<'changes'>): Statement {
  const columns =
    store === 'registers'
      ? 'r.collection, r.key, r.field, NULL::text, r.at, r.writer, r.expires_at_ms'
      : COLUMNS.tallies;
  return {
    name: `lockstep_changes_${store}`,
    text: `WITH horizon AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest), page AS (
        SELECT r.* FROM ${SCHEMA}.${store} r
        WHERE r.change >= $1::text::xid8 AND r.change < (SELECT oldest FROM horizon)
        ORDER BY r.change FETCH FIRST $2 ROWS WITH TIES)
      SELECT ${columns}, r.change::text::bigint, c.kind, h.oldest::text::bigint
      FROM horizon h LEFT JOIN page r ON true LEFT JOIN ${SCHEMA}.collections c ON c.name = r.collection`,
    values: [String(from), limit],
    decode: (rows) => [decodeChanges(store, limit, rows)],
  };
}

function decodeChanges(store: Store, limit: number, rows: readonly Row[]): NodeReply {
  const found = rows.filter((row) => row[0] !== null);
  const oldest = rows[0]?.[9] as number;
  const last = found.reduce((highest, row) => Math.max(highest, row[7] as number), 0);
  return {
    kind: 'changes',
    changes: found.map((row) => ({
      cell: decodeCell(store, row),
      collection: { name: row[0] as string, kind: row[8] as 'lww' },
    })),
    next: found.length < limit ? oldest : last + 1,
    isWhole: found.length < limit,
  };
}

/** Which of these cells the node lacks, or has an older state of. */
export function lackingStatement({ store, cells }: Request<'lacking'>): Statement {
  const registers = cells.filter((cell) => cell.store === 'registers');
  const tallies = cells.filter((cell) => cell.store === 'tallies');
  // An absent cell from below the floor is one that was forgotten.
  const floor = `(SELECT floor FROM ${SCHEMA}.node)`;
  const isOlder =
    store === 'registers'
      ? `(r.at IS NULL AND u.at > ${floor}) OR
         (r.at, r.writer, coalesce(r.expires_at_ms, ${NEVER})) < (u.at, u.writer, coalesce(u.expiry, ${NEVER}))`
      : `(r.added IS NULL AND u.born > ${floor}) OR r.added < u.added OR r.removed < u.removed`;
  const source =
    store === 'registers'
      ? `unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) WITH ORDINALITY
         AS u(c, k, f, at, writer, expiry, o)
         LEFT JOIN ${SCHEMA}.registers r ON r.collection = u.c AND r.key = u.k AND r.field = u.f`
      : `unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) WITH ORDINALITY AS u(c, k, i, a, added, removed, born, o)
         LEFT JOIN ${SCHEMA}.tallies r ON r.collection = u.c AND r.key = u.k AND r.item = u.i AND r.actor = u.a`;
  return {
    name: `lockstep_lacking_${store}`,
    text: `SELECT u.o FROM ${source} WHERE ${isOlder}`,
    values:
      store === 'registers'
        ? [
            registers.map(({ collection }) => collection),
            registers.map(({ key }) => key),
            registers.map(({ field }) => field),
            registers.map(({ at }) => at),
            registers.map(({ writer }) => writer),
            registers.map(({ expiresAtMs }) => expiresAtMs),
          ]
        : [
            tallies.map(({ collection }) => collection),
            tallies.map(({ key }) => key),
            tallies.map(({ item }) => item),
            tallies.map(({ actor }) => actor),
            tallies.map(({ added }) => added),
            tallies.map(({ removed }) => removed),
            tallies.map(({ bornAt }) => bornAt),
          ],
    decode: (rows) => [
      { kind: 'cells', cells: rows.flatMap(([ordinal]) => cells[Number(ordinal) - 1] ?? ([] as Cell[])) },
    ],
  };
}

/** How far this node has seen another one's changes. */
export function seenStatement({ source, store }: Request<'seen'>): Statement {
  return {
    name: 'lockstep_seen',
    text: `SELECT max(seen::text::bigint) FROM ${SCHEMA}.peers WHERE source = $1 AND store = $2`,
    values: [source, store],
    decode: (rows) => [{ kind: 'seen', seen: (rows[0]?.[0] as number | null) ?? 0 }],
  };
}

/** It only grows: several processes may bring it on. */
export function noteSeenStatement({ source, store, seen }: Request<'note-seen'>): Statement {
  return {
    name: 'lockstep_note_seen',
    text: `INSERT INTO ${SCHEMA}.peers AS p (source, store, seen) VALUES ($1, $2, $3::text::xid8)
      ON CONFLICT (source, store) DO UPDATE SET seen = excluded.seen WHERE p.seen < excluded.seen`,
    values: [source, store, String(seen)],
    decode: () => [{ kind: 'done' }],
  };
}

import { textArray } from './arrays.ts';
import type { KeyStore, NodeReply, NodeRequest } from './requests.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;

const SCHEMA = 'lockstep_leaderless';

/** Keys in the order of their bytes; deleted ones are among them until their rows are gone. */
export function keysStatement(
  { collection, store, from, to, limit }: Request<'keys'>,
  epoch: number,
): Statement {
  const end = to === null ? '' : 'AND r.key < $5';
  return {
    name: `lockstep_keys_${store}${to === null ? '_open' : ''}`,
    text: `SELECT DISTINCT r.key FROM ${SCHEMA}.${store} r
      WHERE (SELECT ${SCHEMA}.assert_member($1)) AND r.collection = $2 AND r.key >= $3 ${end} ORDER BY r.key LIMIT $4`,
    values: [epoch, collection.name, from, limit, ...(to === null ? [] : [to])],
    decode: (rows) => {
      const keys = rows.map(([key]) => key as string);
      return [{ kind: 'keys', keys, isWhole: keys.length < limit }];
    },
  };
}

/**
 * Of rows that merge: the sum and number of the transactions that changed them, so that a change which becomes visible after
 * a later one is noticed too. Of a slot: the ballot of its value.
 */
export function markStatement(
  requests: readonly Request<'mark'>[],
  store: KeyStore,
  epoch: number,
): Statement {
  const mark =
    store === 'slots'
      ? `max(r.accepted || ' ' || r.accepted_by)`
      : `sum(r.change::text::numeric)::text || ' ' || count(r.key)`;
  return {
    name: `lockstep_mark_${store}`,
    text: `SELECT u.o, ${mark} FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS u(c, k, o)
      JOIN ${SCHEMA}.${store} r ON r.collection = u.c AND r.key = u.k WHERE (SELECT ${SCHEMA}.assert_member($1)) GROUP BY u.o`,
    values: [
      epoch,
      textArray(requests.map(({ collection }) => collection.name)),
      textArray(requests.map(({ key }) => key)),
    ],
    decode: (rows) => {
      const marks = new Map(rows.map(([ordinal, text]) => [Number(ordinal), text as string]));
      return requests.map((_, index): NodeReply => ({ kind: 'mark', mark: marks.get(index + 1) ?? '' }));
    },
  };
}

/** What is left is a tombstone of the same write. */
/** `now()` and not the clock of the moment, so that the index can be used. */
const ENDED_BEFORE = `least($1::bigint, (extract(epoch FROM now()) * 1000)::bigint)`;

export function purgeStatement({ beforeMs, limit }: Request<'purge'>): Statement {
  return {
    name: 'lockstep_purge',
    // By the node's own clock too: that of whoever asks may be ahead.
    text: `WITH ended AS (SELECT collection, key, field FROM ${SCHEMA}.registers
        WHERE ends_at_ms < ${ENDED_BEFORE} ORDER BY ends_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED), purged AS (
        UPDATE ${SCHEMA}.registers r SET value = NULL, ends_at_ms = NULL FROM ended e
        WHERE r.collection = e.collection AND r.key = e.key AND r.field = e.field AND r.expires_at_ms < ${ENDED_BEFORE} RETURNING 1)
      SELECT count(*) FROM purged`,
    values: [Math.floor(beforeMs), limit],
    decode: (rows) => [{ kind: 'purged', count: Number(rows[0]?.[0] ?? 0) }],
  };
}

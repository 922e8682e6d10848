/** Any number that nothing else locks: who writes shares it, who changes the node's row holds it alone. */
export const NODE_LOCK = 7_212_017;
const TOO_LATE =
  'the write is older than deletions that this node may have forgotten: the clock of its writer is far behind, or it waited too long';

/** The functions of schema.ts that merge cells into a node's tables, as core/cells.ts joins them. */
export const MERGE_SQL: string = `
CREATE OR REPLACE FUNCTION lockstep_leaderless.merge_registers(
  wanted int, max_ahead_ms bigint, is_repair boolean, collections text[], keys text[], fields text[], vals text[], ats bigint[],
  writers text[], expiries bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  own record;
BEGIN
  -- As enter does, in one look with the times.
  PERFORM pg_advisory_xact_lock_shared(${NODE_LOCK});
  SELECT n.epoch, n.is_founded, n.sealed, n.floor, (SELECT max(a) FROM unnest(ats) a) AS last, (SELECT min(a) FROM unnest(ats) a) AS first
    INTO own FROM lockstep_leaderless.node n;
  IF own.epoch IS DISTINCT FROM wanted OR NOT own.is_founded THEN PERFORM lockstep_leaderless.assert_member(wanted); END IF;
  IF own.last / 2048 > extract(epoch FROM clock_timestamp()) * 1000 + max_ahead_ms THEN
    RAISE EXCEPTION 'the writer''s clock is too far ahead of this node''s' USING ERRCODE = 'LS002';
  END IF;
  IF NOT is_repair AND own.first <= own.sealed AND EXISTS (
    SELECT FROM unnest(collections, keys, fields, ats, writers) AS u(c, k, f, a, w) WHERE u.a <= own.sealed AND NOT EXISTS (
      SELECT FROM lockstep_leaderless.registers r
      WHERE r.collection = coalesce(u.c, collections[1]) AND r.key = u.k AND r.field = coalesce(u.f, fields[1])
        AND (r.at, r.writer) >= (u.a, coalesce(u.w, writers[1]) COLLATE "C"))
  ) THEN RAISE EXCEPTION '${TOO_LATE}' USING ERRCODE = 'LS003'; END IF;
  INSERT INTO lockstep_leaderless.registers AS r
    (collection, key, field, value, at, writer, expires_at_ms, ends_at_ms, passes_at, change)
    SELECT u.c, u.k, u.f, u.v, u.a, u.w, u.e, CASE WHEN u.v IS NOT NULL THEN u.e END,
      CASE WHEN u.v IS NULL OR u.e IS NOT NULL THEN u.a END, pg_current_xact_id()
    FROM (SELECT coalesce(c, collections[1]) AS c, k, coalesce(f, fields[1]) AS f, v, a, coalesce(w, writers[1]) AS w, e
      FROM unnest(collections, keys, fields, vals, ats, writers, expiries) AS n(c, k, f, v, a, w, e)) u
    WHERE u.a > own.floor OR EXISTS (
      SELECT FROM lockstep_leaderless.registers r WHERE r.collection = u.c AND r.key = u.k AND r.field = u.f)
    ORDER BY u.c COLLATE "C", u.k COLLATE "C", u.f COLLATE "C"
  ON CONFLICT (collection, key, field) DO UPDATE SET value = excluded.value, at = excluded.at, writer = excluded.writer,
    expires_at_ms = excluded.expires_at_ms, ends_at_ms = excluded.ends_at_ms, passes_at = excluded.passes_at, change = excluded.change
  WHERE (r.at, r.writer, coalesce(r.expires_at_ms, 9223372036854775807))
    < (excluded.at, excluded.writer, coalesce(excluded.expires_at_ms, 9223372036854775807));
  IF FOUND THEN
    INSERT INTO lockstep_leaderless.changed_registers VALUES (pg_current_xact_id(), collections, keys, fields);
  END IF;
END $$;

-- The same for what most writes are: values that one process puts into one field of one collection, for ever, of times from first to
-- last. What is the same for all is no array, and nothing is looked at that cannot be.
CREATE OR REPLACE FUNCTION lockstep_leaderless.merge_values(
  wanted int, max_ahead_ms bigint, is_repair boolean, name text, part text, author text, first bigint, last bigint, keys text[],
  vals text[], ats bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  own record;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(${NODE_LOCK});
  SELECT n.epoch, n.is_founded, n.sealed, n.floor INTO own FROM lockstep_leaderless.node n;
  IF own.epoch IS DISTINCT FROM wanted OR NOT own.is_founded OR first <= own.floor OR (first <= own.sealed AND NOT is_repair)
    OR last / 2048 > extract(epoch FROM clock_timestamp()) * 1000 + max_ahead_ms
  THEN
    PERFORM lockstep_leaderless.merge_registers(
      wanted, max_ahead_ms, is_repair, ARRAY[name], keys, ARRAY[part], vals, ats, ARRAY[author], '{}');
    RETURN;
  END IF;
  INSERT INTO lockstep_leaderless.registers AS r (collection, key, field, value, at, writer, passes_at, change)
    SELECT name, u.k, part, u.v, u.a, author, CASE WHEN u.v IS NULL THEN u.a END, pg_current_xact_id()
    FROM unnest(keys, vals, ats) AS u(k, v, a) ORDER BY u.k COLLATE "C"
  ON CONFLICT (collection, key, field) DO UPDATE SET value = excluded.value, at = excluded.at, writer = excluded.writer,
    expires_at_ms = NULL, ends_at_ms = NULL, passes_at = excluded.passes_at, change = excluded.change
  WHERE (r.at, r.writer, coalesce(r.expires_at_ms, 9223372036854775807)) < (excluded.at, excluded.writer, 9223372036854775807);
  IF FOUND THEN
    INSERT INTO lockstep_leaderless.changed_registers VALUES (pg_current_xact_id(), ARRAY[name], keys, ARRAY[part]);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.merge_tallies(
  wanted int, max_ahead_ms bigint, is_repair boolean, collections text[], keys text[], items text[], actors text[], addeds bigint[],
  removeds bigint[], borns bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  own record;
  times record;
BEGIN
  own := lockstep_leaderless.enter(wanted);
  SELECT max(b) AS last, min(b) AS first INTO times FROM unnest(borns) b;
  IF times.last / 2048 > extract(epoch FROM clock_timestamp()) * 1000 + max_ahead_ms THEN
    RAISE EXCEPTION 'the writer''s clock is too far ahead of this node''s' USING ERRCODE = 'LS002';
  END IF;
  -- What takes something out was read somewhere, and is as good as a repair.
  IF NOT is_repair AND times.first <= own.sealed AND EXISTS (
    SELECT FROM unnest(collections, keys, items, actors, addeds, removeds, borns) AS u(c, k, i, a, n, r, b)
    WHERE u.b <= own.sealed AND coalesce(u.r, removeds[1]) = 0 AND NOT EXISTS (
      SELECT FROM lockstep_leaderless.tallies t
      WHERE t.collection = coalesce(u.c, collections[1]) AND t.key = u.k AND t.item = u.i AND t.actor = u.a AND t.added >= u.n)
  ) THEN RAISE EXCEPTION '${TOO_LATE}' USING ERRCODE = 'LS003'; END IF;
  INSERT INTO lockstep_leaderless.tallies AS t (collection, key, item, actor, added, removed, born_at)
    SELECT u.c, u.k, u.i, u.a, u.n, u.r, u.b
    FROM (SELECT coalesce(c, collections[1]) AS c, k, i, a, n, coalesce(r, removeds[1]) AS r, b
      FROM unnest(collections, keys, items, actors, addeds, removeds, borns) AS n(c, k, i, a, n, r, b)) u
    WHERE u.b > own.floor OR EXISTS (
      SELECT FROM lockstep_leaderless.tallies t WHERE t.collection = u.c AND t.key = u.k AND t.item = u.i AND t.actor = u.a)
    ORDER BY u.c COLLATE "C", u.k COLLATE "C", u.i COLLATE "C", u.a COLLATE "C"
  ON CONFLICT (collection, key, item, actor) DO UPDATE SET added = greatest(t.added, excluded.added),
    removed = greatest(t.removed, excluded.removed), born_at = least(t.born_at, excluded.born_at), change = excluded.change
  WHERE excluded.added > t.added OR excluded.removed > t.removed;
END $$;
`;

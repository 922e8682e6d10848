/** Goes up when a table or function below changes; a node with a newer one is left as it is. */
export const SCHEMA_VERSION = 3;

/**
 * Everything a node keeps. `change` is the transaction that changed a row last: the node's change counter, to be read only below the
 * oldest transaction that still runs (`pg_snapshot_xmin`), because numbers become visible out of order.
 */
export const SCHEMA_SQL: string = `
CREATE SCHEMA IF NOT EXISTS lockstep_leaderless;
CREATE TABLE IF NOT EXISTS lockstep_leaderless.node (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  schema_version int NOT NULL,
  epoch int NOT NULL DEFAULT 0,
  -- System identifiers of all nodes, sorted; null before the founding.
  members text[],
  -- Whether every node is known to have the list. Nothing is read or written before.
  is_founded boolean NOT NULL DEFAULT false
);
-- The timeline that the node was founded on: a promotion or a restored backup begins another one.
ALTER TABLE lockstep_leaderless.node ADD COLUMN IF NOT EXISTS timeline text;
CREATE TABLE IF NOT EXISTS lockstep_leaderless.collections (
  name text COLLATE "C" PRIMARY KEY,
  kind text NOT NULL
);
CREATE TABLE IF NOT EXISTS lockstep_leaderless.registers (
  collection text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  field text COLLATE "C" NOT NULL,
  value text,
  at bigint NOT NULL,
  writer text COLLATE "C" NOT NULL,
  expires_at_ms bigint,
  change xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (collection, key, field)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS registers_change ON lockstep_leaderless.registers (change);
CREATE INDEX IF NOT EXISTS registers_expiry ON lockstep_leaderless.registers (expires_at_ms)
  WHERE expires_at_ms IS NOT NULL AND value IS NOT NULL;
CREATE TABLE IF NOT EXISTS lockstep_leaderless.tallies (
  collection text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  item text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  added bigint NOT NULL,
  removed bigint NOT NULL,
  born_at bigint NOT NULL,
  change xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (collection, key, item, actor)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS tallies_change ON lockstep_leaderless.tallies (change);
CREATE TABLE IF NOT EXISTS lockstep_leaderless.slots (
  collection text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  promised bigint NOT NULL,
  promised_by text COLLATE "C" NOT NULL,
  accepted bigint NOT NULL,
  accepted_by text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  value text,
  lineage text NOT NULL,
  PRIMARY KEY (collection, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE IF NOT EXISTS lockstep_leaderless.hints (
  -- System identifier of the node that may lack the key.
  target text COLLATE "C" NOT NULL,
  store text COLLATE "C" NOT NULL,
  collection text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  noted xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (target, store, collection, key)
);
CREATE TABLE IF NOT EXISTS lockstep_leaderless.peers (
  -- System identifier of another node, below whose change number seen this one has everything.
  source text COLLATE "C" NOT NULL,
  store text COLLATE "C" NOT NULL,
  seen xid8 NOT NULL,
  PRIMARY KEY (source, store)
);

CREATE OR REPLACE FUNCTION lockstep_leaderless.assert_member(wanted int) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE own record;
BEGIN
  SELECT epoch, is_founded INTO own FROM lockstep_leaderless.node;
  IF own IS NULL OR NOT own.is_founded OR own.epoch <> wanted THEN
    RAISE EXCEPTION 'this node is at epoch %, the caller goes by %', own.epoch, wanted USING ERRCODE = 'LS001';
  END IF;
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.open_collections(names text[], kinds text[])
RETURNS TABLE (name text, kind text) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO lockstep_leaderless.collections AS c SELECT u.n, u.k FROM unnest(names, kinds) AS u(n, k) ORDER BY 1
    ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT c.name, c.kind FROM lockstep_leaderless.collections c WHERE c.name = ANY (names);
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.merge_registers(
  wanted int, max_ahead_ms bigint, collections text[], keys text[], fields text[], vals text[], ats bigint[], writers text[], expiries bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lockstep_leaderless.assert_member(wanted);
  IF (SELECT max(a) FROM unnest(ats) a) / 2048 > extract(epoch FROM clock_timestamp()) * 1000 + max_ahead_ms THEN
    RAISE EXCEPTION 'the writer''s clock is too far ahead of this node''s' USING ERRCODE = 'LS002';
  END IF;
  INSERT INTO lockstep_leaderless.registers AS r (collection, key, field, value, at, writer, expires_at_ms)
    SELECT * FROM unnest(collections, keys, fields, vals, ats, writers, expiries) AS u(c, k, f, v, a, w, e)
    ORDER BY u.c COLLATE "C", u.k COLLATE "C", u.f COLLATE "C"
  ON CONFLICT (collection, key, field) DO UPDATE SET value = excluded.value, at = excluded.at, writer = excluded.writer,
    expires_at_ms = excluded.expires_at_ms, change = excluded.change
  WHERE (r.at, r.writer, coalesce(r.expires_at_ms, 9223372036854775807))
    < (excluded.at, excluded.writer, coalesce(excluded.expires_at_ms, 9223372036854775807));
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.merge_tallies(
  wanted int, max_ahead_ms bigint, collections text[], keys text[], items text[], actors text[], addeds bigint[], removeds bigint[],
  borns bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lockstep_leaderless.assert_member(wanted);
  IF (SELECT max(b) FROM unnest(borns) b) / 2048 > extract(epoch FROM clock_timestamp()) * 1000 + max_ahead_ms THEN
    RAISE EXCEPTION 'the writer''s clock is too far ahead of this node''s' USING ERRCODE = 'LS002';
  END IF;
  INSERT INTO lockstep_leaderless.tallies AS t (collection, key, item, actor, added, removed, born_at)
    SELECT * FROM unnest(collections, keys, items, actors, addeds, removeds, borns) AS u(c, k, i, a, n, r, b)
    ORDER BY u.c COLLATE "C", u.k COLLATE "C", u.i COLLATE "C", u.a COLLATE "C"
  ON CONFLICT (collection, key, item, actor) DO UPDATE SET added = greatest(t.added, excluded.added),
    removed = greatest(t.removed, excluded.removed), born_at = least(t.born_at, excluded.born_at), change = excluded.change
  WHERE excluded.added > t.added OR excluded.removed > t.removed;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.prepare(
  wanted int, collections text[], keys text[], ballots bigint[], proposers text[]
) RETURNS TABLE (ordinal bigint, is_promised boolean, ballot bigint, proposer text, version bigint, value text, lineage text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lockstep_leaderless.assert_member(wanted);
  RETURN QUERY
  WITH asked AS (
    SELECT u.o, u.c, u.k, u.n, u.p FROM unnest(collections, keys, ballots, proposers) WITH ORDINALITY AS u(c, k, n, p, o)
  ), promised AS (
    INSERT INTO lockstep_leaderless.slots AS s (collection, key, promised, promised_by, accepted, accepted_by, version, value, lineage)
      SELECT a.c, a.k, a.n, a.p, 0, '', 0, NULL, '' FROM asked a ORDER BY a.c COLLATE "C", a.k COLLATE "C"
    ON CONFLICT ON CONSTRAINT slots_pkey DO UPDATE SET promised = excluded.promised, promised_by = excluded.promised_by
    WHERE (s.promised, s.promised_by) < (excluded.promised, excluded.promised_by)
    RETURNING s.collection, s.key, s.accepted, s.accepted_by, s.version, s.value, s.lineage
  )
  SELECT a.o, r.key IS NOT NULL, coalesce(r.accepted, p.promised, 0), coalesce(r.accepted_by, p.promised_by, ''),
    r.version, r.value, r.lineage
  FROM asked a LEFT JOIN promised r ON r.collection = a.c AND r.key = a.k
  LEFT JOIN lockstep_leaderless.slots p ON r.key IS NULL AND p.collection = a.c AND p.key = a.k;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.accept(
  wanted int, collections text[], keys text[], ballots bigint[], proposers text[], nexts bigint[], versions bigint[], vals text[],
  lineages text[]
) RETURNS TABLE (ordinal bigint, is_accepted boolean, ballot bigint, proposer text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lockstep_leaderless.assert_member(wanted);
  RETURN QUERY
  WITH asked AS (
    SELECT u.o, u.c, u.k, u.n, u.p, u.x, u.v, u.t, u.l
    FROM unnest(collections, keys, ballots, proposers, nexts, versions, vals, lineages) WITH ORDINALITY AS u(c, k, n, p, x, v, t, l, o)
  ), accepted AS (
    INSERT INTO lockstep_leaderless.slots AS s (collection, key, promised, promised_by, accepted, accepted_by, version, value, lineage)
      SELECT a.c, a.k, a.x, a.p, a.n, a.p, a.v, a.t, a.l FROM asked a ORDER BY a.c COLLATE "C", a.k COLLATE "C"
    ON CONFLICT ON CONSTRAINT slots_pkey DO UPDATE SET promised = excluded.promised, promised_by = excluded.promised_by,
      accepted = excluded.accepted, accepted_by = excluded.accepted_by, version = excluded.version, value = excluded.value,
      lineage = excluded.lineage
    WHERE (s.promised, s.promised_by) <= (excluded.accepted, excluded.accepted_by)
    RETURNING s.collection, s.key
  )
  SELECT a.o, r.key IS NOT NULL, coalesce(p.promised, 0), coalesce(p.promised_by, '')
  FROM asked a LEFT JOIN accepted r ON r.collection = a.c AND r.key = a.k
  LEFT JOIN lockstep_leaderless.slots p ON r.key IS NULL AND p.collection = a.c AND p.key = a.k;
END $$;
`;

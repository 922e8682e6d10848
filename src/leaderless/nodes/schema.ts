import { MERGE_SQL, NODE_LOCK } from './merge-functions.ts';

/** Goes up when a table or function below changes; a node with a newer one is left as it is. */
export const SCHEMA_VERSION = 7;

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
-- Watermarks: nothing new is taken that is not later than sealed; deletions up to floor are forgotten; ballots up to slot_floor count
-- as promised for every slot that is not there.
ALTER TABLE lockstep_leaderless.node ADD COLUMN IF NOT EXISTS sealed bigint NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS floor bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS slot_floor bigint NOT NULL DEFAULT 0;
-- While members change: those that come after. cluster is the same at all that were ever members together; incarnation names a
-- server that joined after the founding; addresses are those of such servers.
ALTER TABLE lockstep_leaderless.node ADD COLUMN IF NOT EXISTS next_members text[], ADD COLUMN IF NOT EXISTS cluster text,
  ADD COLUMN IF NOT EXISTS incarnation text, ADD COLUMN IF NOT EXISTS addresses jsonb NOT NULL DEFAULT '{}';
UPDATE lockstep_leaderless.node SET cluster = md5(array_to_string(members, ',')) WHERE cluster IS NULL AND members IS NOT NULL;
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
  change xid8 NOT NULL,
  PRIMARY KEY (collection, key, field)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
-- What indexes hold of a register besides its name, written with it: expires_at_ms where there is a value, and at where there is none or
-- it ends. None of it changes with a value that is there and lives for ever, so that such changes stay on their page.
ALTER TABLE lockstep_leaderless.registers ADD COLUMN IF NOT EXISTS ends_at_ms bigint, ADD COLUMN IF NOT EXISTS passes_at bigint;
-- Version 6 had PostgreSQL compute them, which copied each row twice; the versions before had none.
ALTER TABLE lockstep_leaderless.registers
  ALTER COLUMN ends_at_ms DROP EXPRESSION IF EXISTS, ALTER COLUMN passes_at DROP EXPRESSION IF EXISTS;
UPDATE lockstep_leaderless.registers SET ends_at_ms = CASE WHEN value IS NOT NULL THEN expires_at_ms END, passes_at = at
  WHERE passes_at IS NULL AND (value IS NULL OR expires_at_ms IS NOT NULL);
DROP INDEX IF EXISTS lockstep_leaderless.registers_expiry, lockstep_leaderless.registers_deleted;
CREATE INDEX IF NOT EXISTS registers_ends ON lockstep_leaderless.registers (ends_at_ms) WHERE ends_at_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS registers_passes ON lockstep_leaderless.registers (passes_at) WHERE passes_at IS NOT NULL;
-- Finds registers by their change: each is named in a row of its change. A row may name others that have changed again since.
CREATE TABLE IF NOT EXISTS lockstep_leaderless.changed_registers (
  change xid8 NOT NULL,
  collections text[] NOT NULL,
  keys text[] NOT NULL,
  fields text[] NOT NULL
) WITH (toast_tuple_target = 4096, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS changed_registers_change ON lockstep_leaderless.changed_registers (change);
DO $$ BEGIN
  IF to_regclass('lockstep_leaderless.registers_change') IS NOT NULL THEN
    -- Also, a function of an older release that waits for this fails then: it would name nothing here.
    ALTER TABLE lockstep_leaderless.registers ALTER COLUMN change DROP DEFAULT;
    INSERT INTO lockstep_leaderless.changed_registers
      SELECT change, array_agg(collection), array_agg(key), array_agg(field) FROM lockstep_leaderless.registers GROUP BY change;
    DROP INDEX lockstep_leaderless.registers_change;
  END IF;
END $$;
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
CREATE INDEX IF NOT EXISTS tallies_deleted ON lockstep_leaderless.tallies (born_at) WHERE removed >= added;
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
ALTER TABLE lockstep_leaderless.slots ADD COLUMN IF NOT EXISTS deleted_at timestamptz;
UPDATE lockstep_leaderless.slots SET deleted_at = now() WHERE value IS NULL AND deleted_at IS NULL;
-- Its condition names no column that most changes touch: those stay on their page, and change no index.
DROP INDEX IF EXISTS lockstep_leaderless.slots_deleted;
CREATE INDEX IF NOT EXISTS slots_deleted_at ON lockstep_leaderless.slots (deleted_at) WHERE deleted_at IS NOT NULL;
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
-- This node's own counter about when it had all that the other one had: what both changed since is likely to be the same.
ALTER TABLE lockstep_leaderless.peers ADD COLUMN IF NOT EXISTS own xid8 NOT NULL DEFAULT '0';

-- Of version 2, which knew no repairs.
DROP FUNCTION IF EXISTS lockstep_leaderless.merge_registers(int, bigint, text[], text[], text[], text[], bigint[], text[], bigint[]);
DROP FUNCTION IF EXISTS lockstep_leaderless.merge_tallies(int, bigint, text[], text[], text[], text[], bigint[], bigint[], bigint[]);
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

CREATE OR REPLACE FUNCTION lockstep_leaderless.assert_stable(wanted int) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
  PERFORM lockstep_leaderless.assert_member(wanted);
  IF EXISTS (SELECT FROM lockstep_leaderless.node WHERE next_members IS NOT NULL) THEN
    RAISE EXCEPTION 'nothing is forgotten while members change' USING ERRCODE = 'LS001';
  END IF;
END $$;

-- What writes holds this lock until it is committed, and reads the node's row after it has it: whoever changes that row holds
-- it alone, and nothing that went by the old row is committed later.
CREATE OR REPLACE FUNCTION lockstep_leaderless.enter(wanted int, OUT sealed bigint, OUT floor bigint, OUT slot_floor bigint)
LANGUAGE plpgsql AS $$
DECLARE own record;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(${NODE_LOCK});
  SELECT n.epoch, n.is_founded, n.sealed, n.floor, n.slot_floor INTO own FROM lockstep_leaderless.node n;
  IF own.epoch IS DISTINCT FROM wanted OR NOT own.is_founded THEN PERFORM lockstep_leaderless.assert_member(wanted); END IF;
  sealed := own.sealed;
  floor := own.floor;
  slot_floor := own.slot_floor;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.open_collections(names text[], kinds text[])
RETURNS TABLE (name text, kind text) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO lockstep_leaderless.collections AS c SELECT u.n, u.k FROM unnest(names, kinds) AS u(n, k) ORDER BY 1
    ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT c.name, c.kind FROM lockstep_leaderless.collections c WHERE c.name = ANY (names);
END $$;

${MERGE_SQL}
CREATE OR REPLACE FUNCTION lockstep_leaderless.prepare(
  wanted int, collections text[], keys text[], ballots bigint[], proposers text[]
) RETURNS TABLE (ordinal bigint, is_promised boolean, ballot bigint, proposer text, version bigint, value text, lineage text)
LANGUAGE plpgsql AS $$
DECLARE
  own record;
  taken record;
BEGIN
  own := lockstep_leaderless.enter(wanted);
  WITH promised AS (
    INSERT INTO lockstep_leaderless.slots AS s
      (collection, key, promised, promised_by, accepted, accepted_by, version, value, lineage, deleted_at)
      SELECT a.c, a.k, a.n, a.p, 0, '', 0, NULL, CASE WHEN own.slot_floor > 0 THEN ':0-' || own.slot_floor ELSE '' END, now()
      FROM (SELECT coalesce(c, collections[1]) AS c, k, n, coalesce(p, proposers[1]) AS p
        FROM unnest(collections, keys, ballots, proposers) AS u(c, k, n, p)) a
      WHERE a.n > own.slot_floor OR EXISTS (
        SELECT FROM lockstep_leaderless.slots s WHERE s.collection = a.c AND s.key = a.k)
      ORDER BY a.c COLLATE "C", a.k COLLATE "C"
    ON CONFLICT ON CONSTRAINT slots_pkey DO UPDATE SET promised = excluded.promised, promised_by = excluded.promised_by
    WHERE (s.promised, s.promised_by) < (excluded.promised, excluded.promised_by)
    RETURNING s.collection, s.key
  )
  SELECT count(*) AS count, array_agg(r.collection) AS collections, array_agg(r.key) AS keys INTO taken FROM promised r;
  IF taken.count = cardinality(keys) THEN
    RETURN QUERY SELECT a.o, true, s.accepted, s.accepted_by, s.version, s.value, s.lineage
    FROM unnest(collections, keys) WITH ORDINALITY AS a(c, k, o)
    JOIN lockstep_leaderless.slots s ON s.collection = coalesce(a.c, collections[1]) AND s.key = a.k;
    RETURN;
  END IF;
  RETURN QUERY
  SELECT a.o, r.k IS NOT NULL, CASE WHEN r.k IS NULL THEN coalesce(s.promised, own.slot_floor) ELSE s.accepted END,
    CASE WHEN r.k IS NULL THEN coalesce(s.promised_by, '~') ELSE s.accepted_by END, s.version, s.value, s.lineage
  FROM (SELECT coalesce(c, collections[1]) AS c, k, o FROM unnest(collections, keys) WITH ORDINALITY AS u(c, k, o)) a
  LEFT JOIN unnest(taken.collections, taken.keys) AS r(c, k) ON r.c = a.c AND r.k = a.k
  LEFT JOIN lockstep_leaderless.slots s ON s.collection = a.c AND s.key = a.k;
END $$;

-- Of the arrays of these functions, one that is the same for all keys may hold it once. nexts: none where each is the ballot after.
-- Tells of all when one is refused, and else of none: most often everything is accepted.
CREATE OR REPLACE FUNCTION lockstep_leaderless.accept(
  wanted int, collections text[], keys text[], ballots bigint[], proposers text[], nexts bigint[], versions bigint[], vals text[],
  lineages text[]
) RETURNS TABLE (ordinal bigint, is_accepted boolean, ballot bigint, proposer text) LANGUAGE plpgsql AS $$
DECLARE
  own record;
  taken record;
BEGIN
  own := lockstep_leaderless.enter(wanted);
  WITH accepted AS (
    INSERT INTO lockstep_leaderless.slots AS s
      (collection, key, promised, promised_by, accepted, accepted_by, version, value, lineage, deleted_at)
      SELECT a.c, a.k, a.x, a.p, a.n, a.p, a.v, a.t, a.l, CASE WHEN a.t IS NULL THEN now() END
      FROM (SELECT coalesce(c, collections[1]) AS c, k, n, coalesce(p, proposers[1]) AS p, coalesce(x, n + 1) AS x, v, t, l
        FROM unnest(collections, keys, ballots, proposers, nexts, versions, vals, lineages) AS u(c, k, n, p, x, v, t, l)) a
      WHERE a.n > own.slot_floor OR EXISTS (
        SELECT FROM lockstep_leaderless.slots s WHERE s.collection = a.c AND s.key = a.k)
      ORDER BY a.c COLLATE "C", a.k COLLATE "C"
    ON CONFLICT ON CONSTRAINT slots_pkey DO UPDATE SET promised = excluded.promised, promised_by = excluded.promised_by,
      accepted = excluded.accepted, accepted_by = excluded.accepted_by, version = excluded.version, value = excluded.value,
      lineage = excluded.lineage, deleted_at = CASE WHEN excluded.value IS NULL THEN coalesce(s.deleted_at, excluded.deleted_at) END
    WHERE (s.promised, s.promised_by) <= (excluded.accepted, excluded.accepted_by)
    RETURNING s.collection, s.key
  )
  SELECT count(*) AS count, array_agg(r.collection) AS collections, array_agg(r.key) AS keys INTO taken FROM accepted r;
  IF taken.count = cardinality(keys) THEN RETURN; END IF;
  RETURN QUERY
  SELECT a.o, r.k IS NOT NULL, coalesce(p.promised, own.slot_floor), coalesce(p.promised_by, '~')
  FROM (SELECT coalesce(c, collections[1]) AS c, k, o FROM unnest(collections, keys) WITH ORDINALITY AS u(c, k, o)) a
  LEFT JOIN unnest(taken.collections, taken.keys) AS r(c, k) ON r.c = a.c AND r.k = a.k
  LEFT JOIN lockstep_leaderless.slots p ON p.collection = a.c AND p.key = a.k;
END $$;

-- The rules of core/collecting.ts. Each holds the node's lock alone, for a short time.
CREATE OR REPLACE FUNCTION lockstep_leaderless.seal(wanted int, wanted_at bigint, keep_ms bigint, OUT at bigint, OUT next bigint)
LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(${NODE_LOCK});
  PERFORM lockstep_leaderless.assert_stable(wanted);
  -- Not by the caller's clock alone.
  UPDATE lockstep_leaderless.node n SET sealed = greatest(n.sealed,
    least(wanted_at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint * 2048 - keep_ms * 2048)) RETURNING n.sealed INTO at;
  next := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.collect(
  wanted int, wanted_floor bigint, confirmed_registers xid8, confirmed_tallies xid8, most int
) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
DECLARE
  known bigint;
  registers bigint;
  tallies bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(${NODE_LOCK});
  PERFORM lockstep_leaderless.assert_stable(wanted);
  UPDATE lockstep_leaderless.node n SET floor = greatest(n.floor, least(wanted_floor, n.sealed)) RETURNING n.floor INTO known;
  DELETE FROM lockstep_leaderless.registers d WHERE d.ctid = ANY (ARRAY(
    SELECT r.ctid FROM lockstep_leaderless.registers r
    WHERE r.passes_at <= known AND (r.value IS NULL OR r.expires_at_ms <= known / 2048) AND r.change < confirmed_registers LIMIT most));
  GET DIAGNOSTICS registers = ROW_COUNT;
  DELETE FROM lockstep_leaderless.tallies d WHERE d.ctid = ANY (ARRAY(
    SELECT t.ctid FROM lockstep_leaderless.tallies t
    WHERE t.born_at <= known AND t.removed >= t.added AND t.change < confirmed_tallies LIMIT most));
  GET DIAGNOSTICS tallies = ROW_COUNT;
  RETURN registers + tallies;
END $$;

CREATE OR REPLACE FUNCTION lockstep_leaderless.erase(
  wanted int, collections text[], keys text[], ballots bigint[], nexts bigint[], proposers text[]
) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
DECLARE
  highest bigint;
  erased bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(${NODE_LOCK});
  PERFORM lockstep_leaderless.assert_stable(wanted);
  WITH gone AS (
    DELETE FROM lockstep_leaderless.slots s USING unnest(collections, keys, ballots, nexts, proposers) AS u(c, k, b, n, p)
    WHERE s.collection = u.c AND s.key = u.k AND s.value IS NULL AND s.accepted = u.b AND s.accepted_by = u.p
      AND s.promised = u.n AND s.promised_by = u.p
    RETURNING s.promised)
  SELECT max(promised), count(*) INTO highest, erased FROM gone;
  UPDATE lockstep_leaderless.node n SET slot_floor = greatest(n.slot_floor, highest) WHERE highest > n.slot_floor;
  RETURN erased;
END $$;

-- The node goes by this membership from now on, and by no older one. Alone: what went by the older one is committed before, and
-- numbered below next.
CREATE OR REPLACE FUNCTION lockstep_leaderless.adopt(
  wanted int, wanted_cluster text, wanted_members text[], wanted_next text[], wanted_addresses jsonb,
  INOUT sealed bigint, INOUT floor bigint, INOUT slot_floor bigint, OUT epoch int, OUT next bigint
) LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(${NODE_LOCK});
  IF EXISTS (SELECT FROM lockstep_leaderless.node n WHERE n.cluster <> wanted_cluster) THEN
    RAISE EXCEPTION 'this node belongs to another quorum' USING ERRCODE = 'LS004';
  END IF;
  UPDATE lockstep_leaderless.node n SET epoch = wanted, cluster = wanted_cluster, members = wanted_members,
    next_members = wanted_next, addresses = wanted_addresses, is_founded = true,
    timeline = coalesce(n.timeline, left(pg_walfile_name(pg_current_wal_lsn()), 8))
  WHERE n.epoch < wanted;
  UPDATE lockstep_leaderless.node n SET sealed = greatest(n.sealed, adopt.sealed), floor = greatest(n.floor, adopt.floor),
    slot_floor = greatest(n.slot_floor, adopt.slot_floor) WHERE n.epoch = wanted
  RETURNING n.sealed, n.floor, n.slot_floor INTO adopt.sealed, adopt.floor, adopt.slot_floor;
  DELETE FROM lockstep_leaderless.hints h USING lockstep_leaderless.node n
    WHERE h.target <> ALL (n.members || coalesce(n.next_members, '{}'));
  SELECT n.epoch INTO adopt.epoch FROM lockstep_leaderless.node n;
  adopt.next := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
END $$;

-- Takes over what other acceptors had accepted. What this one promised stays promised.
CREATE OR REPLACE FUNCTION lockstep_leaderless.learn(
  wanted int, collections text[], keys text[], ballots bigint[], proposers text[], versions bigint[], vals text[], lineages text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE own record;
BEGIN
  own := lockstep_leaderless.enter(wanted);
  INSERT INTO lockstep_leaderless.collections SELECT DISTINCT u.c, 'cas' FROM unnest(collections) u(c) ON CONFLICT DO NOTHING;
  INSERT INTO lockstep_leaderless.slots AS s
    (collection, key, promised, promised_by, accepted, accepted_by, version, value, lineage, deleted_at)
    SELECT u.c, u.k, greatest(u.n, own.slot_floor), CASE WHEN u.n > own.slot_floor THEN u.p ELSE '~' END, u.n, u.p, u.v, u.t, u.l,
      CASE WHEN u.t IS NULL THEN now() END
    FROM unnest(collections, keys, ballots, proposers, versions, vals, lineages) AS u(c, k, n, p, v, t, l)
    ORDER BY u.c COLLATE "C", u.k COLLATE "C"
  ON CONFLICT ON CONSTRAINT slots_pkey DO UPDATE SET accepted = excluded.accepted, accepted_by = excluded.accepted_by,
    version = excluded.version, value = excluded.value, lineage = excluded.lineage, deleted_at = excluded.deleted_at,
    promised = CASE WHEN (s.promised, s.promised_by) < (excluded.accepted, excluded.accepted_by) THEN excluded.accepted ELSE s.promised END,
    promised_by =
      CASE WHEN (s.promised, s.promised_by) < (excluded.accepted, excluded.accepted_by) THEN excluded.accepted_by ELSE s.promised_by END
  WHERE (s.accepted, s.accepted_by) < (excluded.accepted, excluded.accepted_by);
END $$;
`;

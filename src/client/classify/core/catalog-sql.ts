import { READ_ONLY_FUNCTIONS, SESSION_FUNCTIONS } from './functions.ts';

/** Tells apart what may matter about two states of the catalog: any change gives a row another `xmin`. */
export const CATALOG_STATE_SQL: string = `SELECT concat_ws(' ',
  (SELECT sum(hashtext(oid || ' ' || xmin)) FROM pg_proc),
  (SELECT sum(hashtext(oid || ' ' || xmin)) FROM pg_rewrite),
  (SELECT sum(hashtext(oid || ' ' || xmin)) FROM pg_class WHERE relkind IN ('v', 'S'))) AS state`;

/** Rows past this are left out, harmless functions first; each takes about 100 bytes here. */
const MAX_ROWS = 20_000;

/** Reading a megabyte of view definitions, as they are stored, takes the leader about 0.15 s. */
const MAX_DEFINITION_BYTES = 4 * 1024 * 1024;

const list = (names: Iterable<string>): string => `'{${[...names].join(',')}}'::name[]`;

/**
 * One question for all {@link CatalogRow}s. A view's stored tree names each function in it by its number,
 * also those behind operators, so nothing needs to be parsed again; a view in which another one is used
 * takes over its hazards. Views whose definitions exceed the bound are taken for hazards. Object ids below
 * 16384 are PostgreSQL's own.
 */
export const CATALOG_SQL: string = `WITH RECURSIVE callable AS MATERIALIZED (
  SELECT p.oid, p.proname AS name, p.oid < 16384 AS is_builtin,
    CASE WHEN p.oid < 16384
      THEN p.proname <> ALL (${list(READ_ONLY_FUNCTIONS)})
        AND (p.provolatile = 'v' OR p.proname ~ '^(pg_|txid_|lo_|current_setting)')
      ELSE p.prokind = 'p' OR p.provolatile = 'v' OR (p.prokind = 'a' AND EXISTS (
        SELECT FROM pg_aggregate a JOIN pg_proc s ON s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
          a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
        WHERE a.aggfnoid = p.oid AND s.provolatile = 'v')) END AS is_risky,
    p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'p') AS reads_like_column
  FROM pg_proc p LEFT JOIN pg_type t ON t.oid = p.proargtypes[0]
), definition AS MATERIALIZED (
  SELECT c.oid AS view, c.relname AS name, r.ev_action,
    sum(pg_column_size(r.ev_action)) OVER (ORDER BY c.oid) > ${MAX_DEFINITION_BYTES} AS is_beyond
  FROM pg_class c JOIN pg_rewrite r ON r.ev_class = c.oid
  WHERE c.relkind = 'v' AND c.oid >= 16384 AND c.relpersistence <> 't'
), mention AS MATERIALIZED (
  SELECT DISTINCT d.view, m[1] = 'relid' AS is_relation, m[2]::oid AS oid
  FROM definition d, regexp_matches(d.ev_action::text,
    ':(relid|funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g') AS m
  WHERE NOT d.is_beyond
), direct AS MATERIALIZED (
  SELECT view, 'server-specific' AS kind FROM definition WHERE is_beyond
  UNION SELECT m.view, CASE WHEN f.name = ANY (${list(SESSION_FUNCTIONS)}) THEN 'session'
      WHEN f.is_builtin THEN 'server-specific' ELSE 'volatile' END
    FROM mention m JOIN callable f USING (oid) WHERE NOT m.is_relation AND f.is_risky
  UNION SELECT m.view, 'server-specific' FROM mention m JOIN pg_class c USING (oid)
    WHERE m.is_relation AND (c.relkind = 'S' OR c.relnamespace = 'pg_catalog'::regnamespace)
), hazard AS (
  SELECT view, kind FROM direct
  UNION SELECT m.view, h.kind FROM hazard h JOIN mention m ON m.is_relation AND m.oid = h.view
)
SELECT kind, name FROM (
  SELECT CASE WHEN bool_or(is_risky) THEN 'volatile-function' ELSE 'stable-function' END AS kind, name,
    NOT bool_or(is_risky) AS is_last
  FROM callable GROUP BY name HAVING NOT bool_and(is_builtin)
  UNION SELECT 'volatile', name, false FROM callable
    WHERE NOT is_builtin AND is_risky AND reads_like_column
  UNION SELECT h.kind, d.name, false FROM hazard h JOIN definition d USING (view)
  UNION SELECT 'server-specific', relname, false FROM pg_class
    WHERE relkind = 'S' AND oid >= 16384 AND relpersistence <> 't'
) AS answer ORDER BY is_last LIMIT ${MAX_ROWS}`;

import { describe, expect, it } from 'vitest';
import {
  canFollowOwnStatement,
  classify,
  controlsTransaction,
  isUndecided,
} from '../../src/client/classify/core/classify.ts';
import type { StatementKind } from '../../src/client/classify/core/classify.ts';
import { readCatalog } from '../../src/client/classify/core/catalog-names.ts';

const table: Record<StatementKind, string[]> = {
  read: [
    'SELECT 1',
    'select * from orders where id = $1',
    '  -- newest first\n select * from reviews order by created_at desc limit 10;',
    '/* list */ SELECT /* cols */ a, b FROM t',
    'SELECT count(*), max(price), coalesce(sum(x), 0) FROM t GROUP BY 1 HAVING count(*) > 3',
    "SELECT * FROM t WHERE name ILIKE '%update%'",
    "SELECT 'insert into t' AS text",
    'SELECT $$; delete from t; $$, $tag$ for update $tag$',
    `SELECT "update" FROM t`,
    `SELECT "a""b;c" FROM t`,
    "SELECT E'it\\'s; delete from t'",
    "SELECT 'a''b; drop table t'",
    "SELECT U&'d\\0061t', B'01', X'ff', N'x'",
    'VALUES (1, 2), (3, 4)',
    'TABLE products',
    '(SELECT 1) UNION ALL (SELECT 2)',
    'WITH a AS (SELECT 1) SELECT * FROM a',
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n',
    'SELECT substring(name from 1 for 3), extract(year from at) FROM t',
    'SELECT * FROM t WHERE id IN (1, 2) AND EXISTS (SELECT 1 FROM u)',
    'SELECT x::numeric(10, 2), cast(y as varchar(3)) FROM t',
    'SELECT rank() OVER (PARTITION BY a ORDER BY b) FROM t',
    'SELECT now(), current_timestamp, random(), gen_random_uuid()',
    'SELECT date(created_at), box(a, b) FROM t',
    'SELECT pg_catalog.lower(name), "lower"(name), "pg_catalog"."upper"(name) FROM t',
    'SELECT a.b.c FROM a.b',
    "SELECT * FROM t WHERE tags && ARRAY['a'] AND doc->>'k' = 'v' -- for update",
    'SELECT * FROM unnest($1::int[]) AS u(id)',
    'SELECT 1 /* outer /* nested; delete from t */ still a comment */',
    'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FILTER (WHERE y) FROM t',
  ],
  'leader-read': [
    '',
    ' ; ',
    '-- nothing',
    'SHOW search_path',
    '/* lockstep: leader */ SELECT 1',
    'SELECT 1 /*lockstep: LEADER*/',
    'SET LOCAL work_mem = 1000',
    'SET TRANSACTION READ ONLY',
    'SET CONSTRAINTS ALL DEFERRED',
  ],
  write: [
    'INSERT INTO t VALUES (1) RETURNING *',
    'update t set a = 1',
    'DELETE FROM t',
    'MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE',
    'TRUNCATE t',
    'COPY t FROM STDIN',
    'CREATE TABLE t (id int)',
    'CREATE TABLE temperature (id int)',
    'ALTER TABLE t ADD c int',
    'DROP TABLE t',
    'VACUUM t',
    'CALL p()',
    'DO $$ BEGIN DELETE FROM t; END $$',
    'NOTIFY channel',
    'LOCK TABLE t',
    'EXPLAIN ANALYZE DELETE FROM t',
    'EXPLAIN SELECT 1',
    'EXECUTE prepared',
    'SELECT * FROM t FOR UPDATE',
    'SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED',
    'SELECT * FROM t FOR KEY SHARE',
    'SELECT * FROM t for/* x */share',
    'SELECT 1 INTO u',
    'WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d',
    'WITH u AS (update t set a = 1 returning a) SELECT * FROM u',
    "SELECT nextval('s')",
    'SELECT currval($1), lastval()',
    "SELECT setval('s', 1)",
    'SELECT * FROM (SELECT * FROM t FOR UPDATE) q',
    'SELECT (SELECT a FROM t LIMIT 1 FOR SHARE)',
    'WITH m AS (MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING *) SELECT * FROM m',
    'WITH i AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM i',
    'WITH a AS (WITH b AS (DELETE FROM t RETURNING 1) TABLE b) TABLE a',
    'MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING *',
    'REFRESH MATERIALIZED VIEW v',
    'EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t',
    'EXPLAIN ANALYZE SELECT my_function()',
    'COPY (SELECT 1) TO STDOUT',
    'DECLARE c CURSOR WITHOUT BINARY FOR SELECT 1',
    'MOVE 1 IN c',
    'CLOSE c',
    'LOCK TABLE t IN SHARE MODE',
    "NOTIFY channel, 'x'",
    "SELECT pg_notify('channel', 'x')",
    'SELECT pg_cancel_backend(1), pg_reload_conf()',
    'SELECT pg_current_xact_id(), pg_current_wal_lsn()',
    'SELECT pg_stat_get_activity(NULL)',
    'SELECT pg_stat_reset()',
    'SELECT * FROM pg_stat_user_tables, pg_stat_replication',
    "SELECT * FROM dblink('c', 'DELETE FROM t') AS d(a int)",
    "SELECT dblink_exec('c', 'DELETE FROM t')",
    "SELECT lo_create(0), lo_import('/x')",
    'SELECT pg_sleep(1)',
    "SELECT ts_rewrite('a', 'SELECT 1')",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT current_setting('work_mem')",
    'SELECT ran\u212a() OVER () FROM t',
    'SELECT U&"pg\\005fnotify"(1, 2)',
    'SELECT * FROM U&"pg\\005fstat_activity"',
    'SELECT 1for update',
    'SELECT 1\0',
    'SELECT OPERATOR(+) 1',
    'SELECT my_function()',
    'SELECT app.lower(name) FROM t',
    'SELECT "Lower"(name) FROM t',
    'SELECT pg_advisory_xact_lock(1)',
    'SELECT pg_terminate_backend(1)',
    'SELECT pg_export_snapshot()',
    'SELECT pg_is_in_recovery()',
    'SELECT * FROM pg_stat_activity',
    'SELECT * FROM pg_catalog.pg_locks',
    'SELECT * FROM "pg_settings"',
    'SELECT txid_current()',
    '/* lockstep: follower */ DELETE FROM t',
    '/* lockstep: follower */ SELECT * FROM t FOR UPDATE',
    '/* lockstep: follower */ SELECT pg_terminate_backend(1)',
    "/* lockstep: follower */ SELECT nextval('s')",
    "/* lockstep: follower */ SELECT dblink_exec('c', 'DELETE FROM t')",
    '/* lockstep: follower */ SELECT lo_create(0)',
    '/* lockstep: follower */ SELECT txid_current()',
    '/* lockstep: follower */ SELECT pg_export_snapshot()',
    '/* lockstep: follower */ WITH d AS (DELETE FROM t RETURNING f(1)) SELECT * FROM d',
    'SELECT 1; SELECT 2',
    'SELECT 1; DELETE FROM t',
    'BEGIN; DELETE FROM t; COMMIT',
    // With standard_conforming_strings off, the string goes on behind \' and the DELETE is not in it.
    "SELECT 'a\\'; DELETE FROM t; --'",
    "SELECT 'a\\\\', 'b'",
    "SELECT 'unterminated",
    'SELECT "unterminated',
    'SELECT $$unterminated',
    'SELECT 1 /* unterminated',
    'SAVEPOINT a',
    'ROLLBACK TO a',
    'ROLLBACK TO SAVEPOINT a',
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
    "PREPARE TRANSACTION 'x'",
    'DECLARE c CURSOR FOR SELECT 1',
    'FETCH 1 FROM c',
    '1',
    'selectx 1',
  ],
  session: [
    'SET search_path TO app',
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    "SET TIME ZONE 'UTC'",
    'RESET ALL',
    'DISCARD ALL',
    'LISTEN orders',
    'UNLISTEN *',
    'PREPARE p AS SELECT 1',
    'DEALLOCATE p',
    "LOAD 'auto_explain'",
    'SET SESSION AUTHORIZATION admin',
    'SET ROLE admin',
    'DISCARD TEMP',
    'SELECT 1 INTO TEMP u',
    'SELECT 1 INTO TEMPORARY TABLE u',
    'SELECT a INTO pg_temp.u FROM t',
    'CREATE TABLE pg_temp.u (a int)',
    'SELECT * FROM pg_temp.u',
    'INSERT INTO t SELECT pg_try_advisory_lock(1)',
    'WITH d AS (DELETE FROM t RETURNING 1) SELECT pg_advisory_lock(1) FROM d',
    'EXPLAIN ANALYZE SELECT pg_advisory_lock(1)',
    "COPY (SELECT set_config('a.b', 'c', false)) TO STDOUT",
    'SELECT "pg_catalog"."set_config"($1, $2, $3)',
    'VALUES (pg_catalog . set_config ($1, $2, $3))',
    'SELECT (SELECT setseed(0.5))',
    "SELECT dblink_connect('c', 'host=x')",
    'SELECT pg_advisory_unlock_all()',
    'BEGIN; SELECT pg_advisory_lock(1); COMMIT',
    'CREATE TEMP TABLE x (id int)',
    'create local temporary table x (id int)',
    'CREATE OR REPLACE TEMP VIEW v AS SELECT 1',
    'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
    'SELECT pg_advisory_lock(1)',
    'SELECT pg_try_advisory_lock_shared(1)',
    "SELECT set_config('a.b', 'c', false)",
    "SELECT pg_catalog.set_config('a.b', 'c', false)",
    '/* lockstep: follower */ SELECT pg_advisory_lock(1)',
    "SELECT my_function(), dblink_connect('x')",
    'SELECT 1; SET search_path TO app',
  ],
  begin: ['BEGIN', 'begin isolation level serializable', 'START TRANSACTION READ ONLY', ' /* x */ BEGIN;'],
  commit: ['COMMIT', 'commit work', 'END'],
  rollback: ['ROLLBACK', 'ABORT', 'rollback work'],
};

describe('classify', () => {
  for (const [kind, statements] of Object.entries(table)) {
    it.each(statements)(`${kind}: %s`, (sql) => {
      expect(classify(sql).kind).toBe(kind);
    });
  }

  it('tells single statements from several', () => {
    expect(classify('SELECT 1;').isSingle).toBe(true);
    expect(classify('SELECT 1; SELECT 2').isSingle).toBe(false);
    expect(classify("SELECT ';'").isSingle).toBe(true);
    const atomic =
      'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 2; END';
    expect(classify(atomic).isSingle).toBe(true);
    expect(classify(`${atomic}; SELECT 1`).isSingle).toBe(false);
    expect(classify('CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)').isSingle).toBe(true);
  });

  it('sends by a hint what is unknown to a follower, but never takes it for harmless', () => {
    const hinted = classify('/* lockstep: follower */ SELECT my_function(1)');
    expect(hinted).toMatchObject({ kind: 'write', mayUseFollower: true });
    expect(classify('SELECT my_function(1)').mayUseFollower).toBe(false);
    expect(classify('/* lockstep: leader */ SELECT 1').mayUseFollower).toBe(false);
    for (const kind of ['leader-read', 'write', 'session', 'begin', 'commit', 'rollback'] as const) {
      for (const sql of table[kind]) expect(classify(sql).mayUseFollower).toBe(false);
    }
  });

  it('stays on the leader for every text cut short anywhere, unless what is left is a read itself', () => {
    const sql = "WITH d AS (DELETE FROM t WHERE a = 'x' RETURNING *) SELECT * FROM d FOR UPDATE";
    for (let length = 'WITH d AS (DELETE '.length; length <= sql.length; length += 1) {
      expect(classify(sql.slice(0, length)).kind).toBe('write');
    }
  });
});

describe('the form of a statement', () => {
  it.each([
    ['SELECT 1', 'query'],
    ['/* lockstep: leader */ SELECT 1', 'query'],
    ['SELECT f()', 'unknown-call'],
    ['SELECT nextval($1)', 'own-server'],
    ['SELECT * FROM pg_stat_activity', 'own-server'],
    ['SELECT 1 FOR UPDATE', 'row-change'],
    ['INSERT INTO t VALUES (1)', 'row-change'],
    ['WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d', 'row-change'],
    ['SELECT 1 INTO t', 'other'],
    ['COPY t FROM STDIN', 'copy'],
    ['SET LOCAL work_mem = 1000', 'set'],
    ["PREPARE TRANSACTION 'a'", 'prepare-transaction'],
    ['PREPARE a AS SELECT 1', 'other'],
    [';', 'empty'],
    ['VACUUM', 'other'],
    ['INSERT INTO t VALUES (1); SELECT 1', 'other'],
  ] as const)('%s: %s', (sql, form) => {
    expect(classify(sql).form).toBe(form);
  });

  it.each(Object.values(table).flat())('decides, and the words of the reason do not: %s', (sql) => {
    const found = classify(sql);
    const reworded = { ...found, reason: `unknown function INSERT volatile ${found.reason}` };
    expect(canFollowOwnStatement(reworded)).toBe(canFollowOwnStatement(found));
    expect(isUndecided(reworded)).toBe(isUndecided(found));
    const silent = { ...found, reason: '' };
    expect(canFollowOwnStatement(silent)).toBe(canFollowOwnStatement(found));
    expect(isUndecided(silent)).toBe(isUndecided(found));
  });
});

describe('classify with what the catalog tells', () => {
  const known = readCatalog([
    { kind: 'stable-function', name: 'price_of' },
    { kind: 'stable-function', name: 'Mixed' },
    { kind: 'volatile-function', name: 'lower' },
    { kind: 'volatile-function', name: 'filter' },
    { kind: 'volatile-function', name: 'write_log' },
    { kind: 'volatile', name: 'logging_view' },
    { kind: 'volatile', name: 'locking_view' },
    { kind: 'session', name: 'locking_view' },
    { kind: 'server-specific', name: 'activity' },
    { kind: 'server-specific', name: 'orders_id_seq' },
    { kind: 'volatile', name: 'computed' },
  ]);

  it.each([
    ['SELECT price_of(id) FROM t', 'read', 'read only'],
    ['SELECT app.price_of(id), "Mixed"(1) FROM t', 'read', 'read only'],
    ['SELECT Mixed(1)', 'write', 'unknown function mixed()'],
    ['SELECT write_log(1)', 'write', 'volatile function write_log()'],
    ['SELECT lower(name) FROM t', 'write', 'volatile function lower()'],
    ['SELECT pg_catalog.lower(name) FROM t', 'read', 'read only'],
    ['SELECT count(*) FILTER (WHERE a) FROM t', 'write', 'volatile function filter()'],
    ['SELECT * FROM logging_view', 'write', 'volatile view logging_view'],
    ['SELECT * FROM app."locking_view" v(a)', 'session', 'view locking_view'],
    ['SELECT * FROM activity', 'write', 'server-specific activity'],
    ['SELECT last_value FROM orders_id_seq', 'write', 'server-specific orders_id_seq'],
    ['SELECT t.computed FROM t', 'write', 'volatile view computed'],
    ["SELECT 'activity' FROM t", 'read', 'read only'],
    ['SELECT price_of(id), write_log(1), pg_sleep(1) FROM t', 'write', 'server-specific pg_sleep()'],
  ] as const)('%s: %s', (sql, kind, reason) => {
    expect(classify(sql, known)).toMatchObject({ kind, reason });
  });

  it('lets a hint send a volatile function to a follower, but nothing that means one server', () => {
    expect(classify('/* lockstep: follower */ SELECT write_log(1)', known).mayUseFollower).toBe(true);
    expect(classify('/* lockstep: follower */ SELECT * FROM logging_view', known).mayUseFollower).toBe(true);
    expect(classify('/* lockstep: follower */ SELECT * FROM activity', known).mayUseFollower).toBe(false);
    expect(classify('/* lockstep: follower */ SELECT * FROM locking_view', known).mayUseFollower).toBe(false);
  });
});

describe('controlsTransaction', () => {
  it.each([
    'BEGIN',
    'begin isolation level serializable;',
    '-- now\n START TRANSACTION READ ONLY',
    'COMMIT',
    'COMMIT AND CHAIN',
    'END',
    'ROLLBACK',
    'ABORT WORK',
    'SAVEPOINT a',
    'RELEASE a',
    'RELEASE SAVEPOINT a',
    'ROLLBACK TO a',
    'ROLLBACK WORK TO SAVEPOINT a',
    "PREPARE TRANSACTION 'x'",
  ])('holds for %s', (sql) => {
    expect(controlsTransaction(classify(sql))).toBe(true);
  });

  it.each([
    'SELECT 1',
    'BEGIN; INSERT INTO t VALUES (1); COMMIT',
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
    'PREPARE p AS SELECT 1',
    'SET LOCAL work_mem = 1000',
    'DO $$ BEGIN COMMIT; END $$',
    'CALL commit()',
    'INSERT INTO savepoint VALUES (1)',
  ])('does not hold for %s', (sql) => {
    expect(controlsTransaction(classify(sql))).toBe(false);
  });
});

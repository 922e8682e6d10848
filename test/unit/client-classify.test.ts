import { describe, expect, it } from 'vitest';
import { classify } from '../../src/client/core/classify.ts';
import type { StatementKind } from '../../src/client/core/classify.ts';
import { Classifier } from '../../src/client/classifier.ts';

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
    'SELECT pg_catalog.lower(name) FROM t',
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
    'SELECT my_function()',
    'SELECT app.lower(name) FROM t',
    'SELECT "lower"(name) FROM t',
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
    '/* lockstep: follower */ WITH d AS (DELETE FROM t RETURNING f(1)) SELECT * FROM d',
    'SELECT 1; SELECT 2',
    'SELECT 1; DELETE FROM t',
    'BEGIN; DELETE FROM t; COMMIT',
    // With standard_conforming_strings off, the string goes on behind \' and the DELETE is not in it.
    "SELECT 'a\\'; DELETE FROM t; --'",
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

describe('Classifier', () => {
  it('sends a text to the leader once a follower refused it', () => {
    const classifier = new Classifier();
    expect(classifier.classify('SELECT * FROM v').kind).toBe('read');
    classifier.teachLeader('SELECT * FROM v');
    expect(classifier.classify('SELECT * FROM v').kind).toBe('write');
  });

  it('forgets the least recently used texts and keeps what is in use', () => {
    const classifier = new Classifier();
    classifier.teachLeader('SELECT * FROM v');
    for (let index = 0; index < 10_000; index += 1) {
      classifier.classify(`SELECT ${index}`);
      if (index % 500 === 0) expect(classifier.classify('SELECT * FROM v').kind).toBe('write');
    }
    for (let index = 0; index < 10_000; index += 1) classifier.classify(`SELECT ${index}`);
    expect(classifier.classify('SELECT * FROM v').kind).toBe('read');
  });
});

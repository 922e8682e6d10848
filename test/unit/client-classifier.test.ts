import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { CatalogSource } from '../../src/client/classify/catalog-watch.ts';
import { Classifier } from '../../src/client/classify/classifier.ts';
import type { CatalogRow } from '../../src/client/classify/core/catalog-names.ts';
import { TextCache } from '../../src/client/classify/core/text-cache.ts';
import { Grammar } from '../../src/client/classify/grammar.ts';

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error('not within 10 s');
    await delay(5);
  }
}

function isRead(classifier: Classifier, sql: string): boolean {
  return classifier.classify(sql).kind === 'read';
}

/** Bytes on the heap after what is garbage was collected. */
function heapInUse(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

/** A catalog whose answers the test decides. */
class Catalog implements CatalogSource {
  rows: CatalogRow[] = [];
  loads = 0;
  isClosed = false;

  load(): Promise<readonly CatalogRow[]> {
    this.loads += 1;
    return this.loads === 1 ? Promise.reject(new Error('no leader yet')) : Promise.resolve(this.rows);
  }

  close(): void {
    this.isClosed = true;
  }
}

describe('Classifier', () => {
  it('sends a text to the leader once a follower refused it, long after ordinary texts are forgotten', () => {
    const classifier = new Classifier(systemClock);
    expect(classifier.classify('SELECT * FROM v').kind).toBe('read');
    classifier.teachLeader('SELECT * FROM v');
    for (let index = 0; index < 50_000; index += 1) classifier.classify(`SELECT ${index}`);
    expect(classifier.classify('SELECT * FROM v')).toMatchObject({ kind: 'write', mayUseFollower: false });
    for (let index = 0; index < 12_000; index += 1) classifier.teachLeader(`SELECT ${index}`);
    expect(classifier.classify('SELECT * FROM v').kind).toBe('read');
    classifier.close();
  });

  it('keeps its memory bounded over a million texts, long ones among them', () => {
    const classifier = new Classifier(systemClock);
    const before = heapInUse();
    let most = 0;
    for (let index = 0; index < 1_000_000; index += 1) {
      const padding = index % 100 === 0 ? 'x'.repeat(20_000) : '';
      classifier.classify(`SELECT ${index} AS "a${padding}"`);
      if (index % 50_000 === 0) classifier.teachLeader(`SELECT ${index} AS "b${'x'.repeat(5000)}"`);
      if (index % 100_000 === 99_999) most = Math.max(most, heapInUse() - before);
    }
    classifier.close();
    // 10 MB of text in both caches, and what V8 needs to keep 12,000 of them.
    expect(most / 1e6).toBeLessThan(20);
  }, 60_000);

  it('lets PostgreSQL’s grammar correct what the lexer was in doubt about', async () => {
    const classifier = new Classifier(systemClock);
    const reads = [
      'SELECT a.update, merge FROM a',
      'WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT * FROM a, b',
      'SELECT 1 OPERATOR(pg_catalog.+) 2',
      'SELECT substring(a FROM 1 FOR update) FROM t',
      'SELECT * FROM t TABLESAMPLE system (10)',
    ];
    const others = [
      'WITH a AS (DELETE FROM t RETURNING b(1)), b(x) AS (SELECT 2) SELECT * FROM a, b',
      'SELECT my_function(1), update FROM t',
      'SELECT * FROM t TABLESAMPLE my_method (10)',
      'SELECT merge FROM t FOR UPDATE',
    ];
    for (const sql of [...reads, ...others]) expect(isRead(classifier, sql)).toBe(false);
    for (const sql of reads) await until(() => isRead(classifier, sql));
    for (const sql of others) expect(isRead(classifier, sql)).toBe(false);
    expect(classifier.classify('/* lockstep: leader */ SELECT a.update FROM a').kind).toBe('write');
    await until(
      () => classifier.classify('/* lockstep: leader */ SELECT a.update FROM a').kind === 'leader-read',
    );
    classifier.close();
  });

  it('does without the grammar when it cannot be loaded', async () => {
    let tries = 0;
    const load = (): Promise<never> => {
      tries += 1;
      return Promise.reject(new Error('no such package'));
    };
    const classifier = new Classifier(systemClock, null, new Grammar(systemClock, load));
    expect(isRead(classifier, 'SELECT a.update FROM a')).toBe(false);
    await until(() => tries === 1);
    for (let index = 0; index < 500; index += 1) classifier.classify(`SELECT a.update, ${index} FROM a`);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isRead(classifier, 'SELECT a.update FROM a')).toBe(false);
    expect(isRead(classifier, 'SELECT 1')).toBe(true);
    expect(tries).toBe(1);
    classifier.close();
  });

  it('offers a text to the grammar again when too many were waiting', async () => {
    const classifier = new Classifier(systemClock);
    const texts = Array.from({ length: 300 }, (_, index) => `SELECT a.update, ${index} FROM a`);
    for (const sql of texts) classifier.classify(sql);
    await until(() => texts.map((sql) => isRead(classifier, sql)).every(Boolean));
    classifier.close();
  });

  it('asks the catalog about unknown functions, again until it answers, and after a change', async () => {
    const catalog = new Catalog();
    catalog.rows = [{ kind: 'stable-function', name: 'price_of' }];
    const classifier = new Classifier(systemClock, catalog);
    expect(catalog.loads).toBe(0);
    expect(isRead(classifier, 'SELECT price_of(1)')).toBe(false);
    expect(isRead(classifier, 'SELECT * FROM v')).toBe(true);
    await until(() => isRead(classifier, 'SELECT price_of(1)'));
    const loads = catalog.loads;

    catalog.rows = [
      { kind: 'volatile-function', name: 'price_of' },
      { kind: 'volatile', name: 'v' },
    ];
    classifier.classify('CREATE OR REPLACE FUNCTION price_of(int) RETURNS int LANGUAGE sql AS $$ … $$');
    // Nothing is trusted that the change may have changed.
    expect(isRead(classifier, 'SELECT price_of(1)')).toBe(false);
    await until(() => catalog.loads > loads && !isRead(classifier, 'SELECT * FROM v'));
    expect(classifier.classify('SELECT price_of(1)').reason).toBe('volatile function price_of()');
    classifier.close();
    expect(catalog.isClosed).toBe(true);
  });

  it('keeps no process alive', () => {
    const script = `
      import { Classifier } from '${new URL('../../src/client/classify/classifier.ts', import.meta.url).href}';
      import { systemClock } from '${new URL('../../src/clock/system-clock.ts', import.meta.url).href}';
      const catalog = { load: () => Promise.reject(new Error('none')), close() {} };
      const classifier = new Classifier(systemClock, catalog);
      for (let index = 0; index < 50; index += 1) classifier.classify('SELECT a.update, ' + index + ' FROM a');
      classifier.classify('CREATE FUNCTION f() RETURNS int RETURN 1');`;
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 10_000,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });
});

describe('TextCache', () => {
  it('keeps what is in use and forgets the rest, by number and by size', () => {
    const cache = new TextCache<object>({ texts: 10, characters: 1000 });
    const value = {};
    cache.set('used', value);
    for (let index = 0; index < 1000; index += 1) {
      cache.set(`text ${index}`, {});
      expect(cache.get('used')).toBe(value);
    }
    expect(cache.get('text 0')).toBeUndefined();
    expect(cache.get('text 999')).toBeDefined();
    for (let index = 0; index < 10; index += 1) cache.set(`${index}`.repeat(240), {});
    expect(cache.get('used')).toBeUndefined();
    expect(cache.get('9'.repeat(240))).toBeDefined();
    cache.set('x'.repeat(300), {});
    expect(cache.get('x'.repeat(300))).toBeUndefined();
    cache.clear();
    expect(cache.get('9'.repeat(240))).toBeUndefined();
  });

  it('replaces a value in whichever generation it lives', () => {
    const cache = new TextCache<{ readonly n: number }>({ texts: 2, characters: 1000 });
    cache.set('a', { n: 1 });
    cache.set('b', { n: 1 });
    cache.set('c', { n: 1 });
    cache.set('a', { n: 2 });
    expect(cache.get('a')).toEqual({ n: 2 });
  });
});

import { describe, expect, it } from 'vitest';
import { renderList } from '../../src/cli/rescue/rescue-text.ts';
import { DangerJudge } from '../../src/leader-follower/delayed/core/danger.ts';
import type { CatalogTable, JudgedTransaction } from '../../src/leader-follower/delayed/core/danger.ts';
import type { LogGap } from '../../src/leader-follower/delayed/log-arrival.ts';
import { RowGrowth } from '../../src/leader-follower/delayed/core/row-growth.ts';
import { TransactionReading } from '../../src/leader-follower/delayed/core/transactions.ts';
import type { LoggedTransaction } from '../../src/leader-follower/delayed/core/transactions.ts';

/** As pg_waldump 15 prints them, and 16 and later where that differs. */
const UPDATE =
  'rmgr: Heap        len (rec/tot):     54/   150, tx:        738, lsn: 0/0152C9B8, prev 0/0152C980, desc: HOT_UPDATE off 3 xmax 738 flags 0x40 ; new off 4 xmax 0, blkref #0: rel 1663/5/16390 blk 0';
const TRUNCATE_15 =
  'rmgr: Heap        len (rec/tot):     46/    46, tx:        739, lsn: 0/0152D000, prev 0/0152C980, desc: TRUNCATE nrelids 2 relids 16390 16400';
const TRUNCATE_17 =
  'rmgr: Heap        len (rec/tot):     46/    46, tx:        739, lsn: 0/0152D000, prev 0/0152C980, desc: TRUNCATE flags: [], nrelids: 2, relids: [16390, 16400]';

function commit(xid: number, rest = ''): string {
  return `rmgr: Transaction len (rec/tot):    405/   405, tx:        ${xid}, lsn: 0/0152F000, prev 0/0152E000, desc: COMMIT 2026-11-30 07:20:11.123456 UTC${rest}`;
}

function read(...lines: readonly string[]): readonly LoggedTransaction[] {
  const found: LoggedTransaction[] = [];
  const reading = new TransactionReading((transaction) => found.push(transaction));
  for (const line of lines) reading.add(line);
  return found;
}

describe('transactions in the log', () => {
  it('are told by their commits, with rows by file', () => {
    const insert = UPDATE.replace('HOT_UPDATE', 'INSERT');
    expect(read(UPDATE, UPDATE, insert, commit(738, '; inval msgs: catcache 7'))).toEqual([
      {
        xid: 738,
        subxids: [],
        atMs: Date.UTC(2026, 10, 30, 7, 20, 11, 123),
        lsn: '0/0152F000',
        timeline: 1,
        files: [{ file: '5/16390', inserted: 1, updated: 2, deleted: 0 }],
        removedFiles: [],
        truncated: [],
        dropsDatabase: false,
      },
    ]);
  });

  it('leave out what was rolled back, and count subtransactions in', () => {
    const inSub = UPDATE.replace('738', '740').replace('HOT_UPDATE', 'DELETE');
    expect(read(UPDATE, commit(738).replace('COMMIT', 'ABORT'))).toEqual([]);
    const [transaction] = read(UPDATE, inSub, commit(738, '; subxacts: 740 741'));
    expect(transaction).toMatchObject({ subxids: [740, 741], files: [{ updated: 1, deleted: 1 }] });
  });

  it('name truncated tables and removed files in the words of every version', () => {
    for (const line of [TRUNCATE_15, TRUNCATE_17])
      expect(read(line, commit(739))[0]?.truncated).toEqual([16390, 16400]);
    const [dropped] = read(
      commit(745, '; rels: base/5/16390 pg_tblspc/16400/PG_15_202209061/5/16391; inval msgs: x'),
    );
    expect(dropped?.removedFiles).toEqual(['5/16390', '5/16391']);
  });

  it('pass over lines that are none', () => {
    expect(read('', 'nonsense', 'rmgr: Heap', 'pg_waldump: error: could not find a valid record')).toEqual(
      [],
    );
  });
});

function table(name: string, oid: number, fileNode: number, rows: number | null): CatalogTable {
  return { database: 'app', databaseOid: 5, oid, fileNode, name, isTable: true, rows };
}

function transaction(change: Partial<LoggedTransaction>): LoggedTransaction {
  return {
    xid: 800,
    subxids: [],
    atMs: 0,
    lsn: '0/1',
    timeline: 1,
    files: [],
    removedFiles: [],
    truncated: [],
    dropsDatabase: false,
    ...change,
  };
}

/** Of a node that stays ten minutes behind and has not come to anything yet. */
const AHEAD = { isReplayed: false, delayMs: 600_000 };

describe('what looks like a mistake', () => {
  const orders = table('orders', 16390, 16390, 1_000);
  const products = table('products', 16400, 16400, 500);
  const dangers = (
    change: Partial<LoggedTransaction>,
    present: readonly CatalogTable[] | null,
  ): readonly string[] =>
    new DangerJudge({ past: [orders, products], present, counted: () => null })
      .judge(transaction(change), AHEAD)
      .dangers.map(({ text }) => text);

  it('is a table that went, and not one that was only written anew', () => {
    const change = { removedFiles: ['5/16390', '5/16391'] };
    expect(dangers(change, [products])).toEqual(['drops orders']);
    expect(dangers(change, [{ ...orders, fileNode: 17000 }, products])).toEqual([]);
    expect(dangers(change, null)).toEqual(['drops orders or rewrites it']);
  });

  it('is a truncation, which is no drop besides', () => {
    const present = [{ ...orders, fileNode: 17000 }, products];
    expect(dangers({ truncated: [16390], removedFiles: ['5/16390'] }, present)).toEqual(['truncates orders']);
  });

  it('is an update or a deletion of every row, whatever the statistics have seen of it', () => {
    const file = { file: '5/16400', inserted: 0, updated: 500, deleted: 0 };
    expect(dangers({ files: [file] }, [orders, products])).toEqual(['perhaps updates every row of products']);
    const deletion = { file: '5/16390', inserted: 0, updated: 0, deleted: 37 };
    expect(dangers({ files: [deletion] }, [orders, products])).toEqual([]);
    expect(dangers({ files: [{ ...deletion, deleted: 1_000 }] }, [{ ...orders, rows: 0 }, products])).toEqual(
      ['perhaps deletes every row of orders'],
    );
    // Twice as many by the statistics as there were.
    const doubled = { ...products, rows: 1_000 };
    const judged = new DangerJudge({ past: [doubled], present: null, counted: () => null });
    expect(judged.judge(transaction({ files: [file] }), AHEAD).dangers).toHaveLength(1);
    // Never counted before, and counted after.
    const judge = new DangerJudge({
      past: [{ ...orders, rows: null }],
      present: [{ ...orders, rows: 1_000 - 37 }],
      counted: () => null,
    });
    expect(judge.judge(transaction({ files: [deletion] }), AHEAD).dangers).toEqual([]);
  });

  it('goes by rows that were counted, whatever the statistics say', () => {
    const change = transaction({ files: [{ file: '5/16400', inserted: 0, updated: 500, deleted: 0 }] });
    const judged = (counted: number, rows: number | null): number => {
      const twice = { ...products, rows };
      return new DangerJudge({ past: [twice], present: [twice], counted: () => counted }).judge(change, AHEAD)
        .dangers.length;
    };
    expect([judged(500, 1_000), judged(500, null), judged(1_000, 500)]).toEqual([1, 1, 0]);
  });

  it('is told from a count of now by what was written since', () => {
    const growth = new RowGrowth();
    const at = (inserted: number, updated: number, deleted: number): LoggedTransaction => {
      const one = transaction({ files: [{ file: '5/16400', inserted, updated, deleted }] });
      growth.add(one);
      return one;
    };
    const all = [at(100, 0, 0), at(0, 100, 0), at(7, 0, 0), at(0, 0, 107), at(30, 0, 0)];
    expect(all.map((one) => 30 - growth.since(one, '5/16400'))).toEqual([0, 100, 100, 107, 0]);
    const [wanted] = growth.wanted(all);
    expect(wanted?.file).toBe('5/16400');
    // Enough to know for each of them whether there were more rows than it wrote.
    expect(wanted?.limit).toBeGreaterThan(107 / 0.9 - 77);
    expect(growth.wanted([at(1, 1, 0)])).toEqual([]);
  });

  it('leaves indexes, system tables and single rows alone', () => {
    const single = { file: '5/16400', inserted: 0, updated: 1, deleted: 0 };
    const one = { ...products, rows: 1 };
    expect(
      new DangerJudge({ past: [one], present: [one], counted: () => 1 }).judge(
        transaction({ files: [single] }),
        AHEAD,
      ).dangers,
    ).toEqual([]);
    const index = { ...orders, isTable: false };
    const judged = new DangerJudge({ past: [index], present: [], counted: () => null }).judge(
      transaction({
        removedFiles: ['5/16390'],
        files: [{ file: '5/16390', inserted: 9, updated: 9, deleted: 9 }],
      }),
      AHEAD,
    );
    expect([judged.dangers, judged.tables]).toEqual([[], []]);
  });

  it('comes with the time that is left until the delayed node shows it, too', () => {
    const judge = new DangerJudge({ past: [orders], present: [], counted: () => null });
    const drop = transaction({ atMs: Date.parse('2030-01-31T07:20:12Z'), removedFiles: ['5/16390'] });
    const ahead = judge.judge(drop, AHEAD);
    expect(ahead.replaysAt).toBe('2030-01-31T07:30:12.000Z');
    const held = judge.judge(drop, { ...AHEAD, delayMs: null });
    const late = judge.judge(drop, { ...AHEAD, isReplayed: true });
    expect([held.replaysAt, late.replaysAt]).toEqual([null, null]);
    const lines = renderList(
      {
        node: 'n4',
        isCutOff: false,
        gap: null,
        transactions: [late, held, ahead, { ...ahead, replaysAt: '2030-02-02T09:21:00Z' }],
      },
      Date.parse('2030-01-31T07:21:00Z'),
    ).split('\n');
    expect(lines[0]).toMatch(/TIME LEFT/);
    expect(lines[1]).toMatch(/ none .*!! drops orders; \(replayed on n4: too late\)/);
    expect(lines[2]).toMatch(/ on hold /);
    expect(lines[3]).toMatch(/ 9min 12s .*!! drops orders$/);
    expect(lines[4]).toMatch(/ 2d 2h /);
  });

  it('are all shown that took many rows, of however many', () => {
    const judge = new DangerJudge({ past: [orders, products], present: null, counted: () => 50_000 });
    const at = (xid: number, deleted: number, updated = 0): JudgedTransaction => {
      const files = [
        { file: '5/16390', inserted: 0, updated: 0, deleted },
        { file: '5/16400', inserted: 0, updated, deleted: 0 },
      ];
      return judge.judge(transaction({ xid, files }), AHEAD);
    };
    const daily = Array.from({ length: 99 }, (_, index) => at(2_000 + index, index + 1));
    const transactions = [at(1_001, 2_998), at(1_002, 60, 40), ...daily];
    expect(transactions.flatMap(({ dangers }) => dangers)).toEqual([]);
    const list = { node: 'n4', gap: null, transactions };
    const whole = renderList({ ...list, isCutOff: false }, 0).split('\n');
    expect(whole).toHaveLength(1 + 2 + 40 + 1);
    expect(whole[1]).toMatch(/ 1001 .* -2998\b/);
    expect(whole[2]).toMatch(/ 1002 .* -60, .* ~40$/);
    expect(whole[3]).toMatch(/ 2059 .* orders -60\b/);
    expect(whole.at(-1)).toBe('… and 59 more that look harmless; --json has them.');
    const cut = renderList({ ...list, isCutOff: true }, 0).split('\n');
    expect(cut.at(-1)).toMatch(/^There were too many: older ones are left out, of --json too, but for/);
  });

  it('are not said to be none while more may come', () => {
    const list = { node: 'n4', isCutOff: false, transactions: [] };
    const text = (gap: LogGap | null): string | undefined => renderList({ ...list, gap }, 0).split('\n')[1];
    expect(text(null)).toBe('Nothing was committed in that time.');
    expect(text({ receivedLsn: '0/3000028', leaderLsn: '0/5000028' })).toMatch(
      /^There is more to come: n4 has the log up to 0\/3000028, of 0\/5000028 on the leader\./,
    );
    expect(text({ receivedLsn: '0/3000028', leaderLsn: null })).toMatch(/^There may be more: .*nobody leads/);
  });
});

import type { Lsn } from '../../../model/lsn.ts';
import type { Timeline, TimelineHistory } from '../../../model/timeline.ts';
import type { LostLog } from '../../core/rejoin.ts';

/** A stretch of log on one timeline. */
export interface LogPiece {
  readonly timeline: Timeline;
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
}

/** The lost log by timelines, oldest first: a node may have been promoted past the fork. */
export function piecesOf(lost: LostLog, history: TimelineHistory): readonly LogPiece[] {
  const steps = [...history.ancestors, { timeline: history.timeline, forkedAt: lost.endLsn }];
  const first = steps.findIndex(({ timeline }) => timeline === lost.fork.timeline);
  let fromLsn = lost.fork.forkedAt;
  return steps.slice(Math.max(0, first)).flatMap(({ timeline, forkedAt }) => {
    const piece = { timeline, fromLsn, toLsn: forkedAt };
    fromLsn = forkedAt;
    return piece.fromLsn < piece.toLsn ? [piece] : [];
  });
}

/**
 * Names of the segment files of a piece. Source: PostgreSQL's src/include/access/xlog_internal.h,
 * XLogFileName: timeline, then the number split at 4 GB.
 */
export function segmentNames(piece: LogPiece, segmentBytes: number): readonly string[] {
  const perFile = 0x1_0000_0000n / BigInt(segmentBytes);
  const first = piece.fromLsn / BigInt(segmentBytes);
  const last = (piece.toLsn - 1n) / BigInt(segmentBytes);
  const hex = (value: bigint): string => value.toString(16).toUpperCase().padStart(8, '0');
  return Array.from({ length: Number(last - first) + 1 }, (_, index) => {
    const number = first + BigInt(index);
    return hex(BigInt(piece.timeline)) + hex(number / perFile) + hex(number % perFile);
  });
}

/** A transaction that ended in the lost log. */
export interface LostTransaction {
  readonly xid: number;
  readonly kind: 'commit' | 'prepared';
  /** As PostgreSQL wrote it. */
  readonly at: string;
  readonly lsn: string;
  readonly subxids: readonly number[];
}

export interface RowCounts {
  inserted: number;
  updated: number;
  deleted: number;
}

/** Where transactions wrote rows, by database and file of a table. */
export interface TouchedTable {
  readonly databaseOid: number;
  readonly fileNode: number;
  /** By transaction: some of them may have been rolled back. */
  readonly counts: Map<number, RowCounts>;
  readonly blocks: Set<number>;
}

/** What these transactions together did to the table. */
export function countRows(table: TouchedTable, xids: readonly number[]): RowCounts {
  const sum: RowCounts = { inserted: 0, updated: 0, deleted: 0 };
  for (const xid of new Set(xids)) {
    const counts = table.counts.get(xid);
    sum.inserted += counts?.inserted ?? 0;
    sum.updated += counts?.updated ?? 0;
    sum.deleted += counts?.deleted ?? 0;
  }
  return sum;
}

/** What pg_waldump says of the log, line by line. */
export class LogReading {
  readonly transactions: LostTransaction[] = [];
  readonly tables: Map<string, TouchedTable> = new Map();

  #unread = 0;

  /** Nothing was committed or prepared, and no line was met that could mean so in another way. */
  get isFreeOfCommits(): boolean {
    return this.transactions.length === 0 && this.#unread === 0;
  }

  /** Takes one line; of a kind that tells nothing about commits or rows it is passed over. */
  add(line: string): void {
    const head = /^rmgr: (\w+).*?tx: +(\d+), lsn: ([0-9A-F/]+),.*?desc: (.*)$/.exec(line);
    if (head === null) return;
    const [, manager = '', xid = '', lsn = '', words = ''] = head;
    if (manager === 'Transaction') this.#addTransaction(Number(xid), lsn, words);
    else if (manager === 'Heap' || manager === 'Heap2') this.#addRows(Number(xid), words);
  }

  #addTransaction(tx: number, lsn: string, words: string): void {
    const match =
      /^(COMMIT_PREPARED|COMMIT|PREPARE)\b.*?(?:(\d+): )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]* \S+?)(?:;|$)/.exec(
        words,
      );
    if (match === null) {
      if (!/^(ABORT|ASSIGNMENT|INVALIDATION)/.test(words)) this.#unread++;
      return;
    }
    const [, kind, prepared, at = ''] = match;
    const subxids = /subxacts: ([\d ]+)/.exec(words)?.[1] ?? '';
    this.transactions.push({
      xid: prepared === undefined ? tx : Number(prepared),
      kind: kind === 'PREPARE' ? 'prepared' : 'commit',
      at,
      lsn,
      subxids: subxids.split(' ').filter(Boolean).map(Number),
    });
  }

  #addRows(xid: number, words: string): void {
    const operation = /^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE)\b/.exec(words)?.[1];
    const block = /blkref #0: rel \d+\/(\d+)\/(\d+) blk (\d+)/.exec(words);
    if (operation === undefined || block === null) return;
    const [, database = '', file = '', number = ''] = block;
    const key = `${database}/${file}`;
    const table = this.tables.get(key) ?? {
      databaseOid: Number(database),
      fileNode: Number(file),
      counts: new Map(),
      blocks: new Set(),
    };
    this.tables.set(key, table);
    const counts = table.counts.get(xid) ?? { inserted: 0, updated: 0, deleted: 0 };
    table.counts.set(xid, counts);
    if (operation === 'DELETE') counts.deleted++;
    else {
      if (operation === 'INSERT') counts.inserted++;
      else if (operation === 'MULTI_INSERT')
        counts.inserted += Number(/ntuples:? (\d+)/.exec(words)?.[1] ?? 1);
      else counts.updated++;
      table.blocks.add(Number(number));
    }
  }
}

export interface SavedLog {
  readonly name: string;
  readonly bytes: number;
  readonly savedAtMs: number;
}

/** Which of what was saved earlier has to go: the oldest beyond a number or a size. */
export function surplusOf(
  saved: readonly SavedLog[],
  limit: { readonly count: number; readonly bytes: number },
): readonly SavedLog[] {
  let bytes = 0;
  return saved
    .toSorted((a, b) => b.savedAtMs - a.savedAtMs || (a.name < b.name ? 1 : -1))
    .filter((log, index) => {
      bytes += log.bytes;
      // The newest stays whatever its size: it was bounded when it was saved.
      return index > 0 && (index >= limit.count || bytes > limit.bytes);
    });
}

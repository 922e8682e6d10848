/** Rows that a transaction wrote in one file of a table. */
export interface FileCounts {
  /** `database/file`, as the log names it. */
  readonly file: string;
  inserted: number;
  updated: number;
  deleted: number;
}

/** A committed transaction, as the log tells of it. */
export interface LoggedTransaction {
  readonly xid: number;
  readonly subxids: readonly number[];
  /** When it committed, in milliseconds since the epoch. */
  readonly atMs: number;
  /** Where its commit's record begins: recovery that ends before it shows nothing of the transaction. */
  readonly lsn: string;
  readonly timeline: number;
  readonly files: readonly FileCounts[];
  /** `database/file` of what it took away with its commit: tables, indexes and sequences alike. */
  readonly removedFiles: readonly string[];
  /** Tables that it truncated: object identifiers. */
  readonly truncated: readonly number[];
  /** It removed a whole database. */
  readonly dropsDatabase: boolean;
}

interface Open {
  readonly files: Map<string, FileCounts>;
  readonly truncated: number[];
  dropsDatabase: boolean;
}

/** What pg_waldump has to print: `--rmgr`. */
export const TRANSACTION_RECORDS: readonly string[] = ['Transaction', 'Heap', 'Heap2', 'Database'];

/** As many as an agent's answer has room for; the oldest go first. */
const MAX_TRANSACTIONS = 5_000;

/** Reads pg_waldump's lines into transactions, in the order of their commits. */
export class TransactionReading {
  readonly #open = new Map<number, Open>();
  readonly #onTransaction: (transaction: LoggedTransaction) => void;
  timeline = 1;

  constructor(onTransaction: (transaction: LoggedTransaction) => void) {
    this.#onTransaction = onTransaction;
  }

  /** Takes one line; one that tells nothing of transactions is passed over. */
  add(line: string): void {
    const head = /^rmgr: (\w+).*?tx: +(\d+), lsn: ([0-9A-F/]+),.*?desc: (.*)$/.exec(line);
    if (head === null) return;
    const [, manager = '', tx = '', lsn = '', words = ''] = head;
    const xid = Number(tx);
    if (manager === 'Transaction') this.#end(xid, lsn, words);
    else if (manager === 'Database') this.#openOf(xid).dropsDatabase ||= words.startsWith('DROP');
    else this.#addRows(xid, words);
  }

  #addRows(xid: number, words: string): void {
    const operation = /^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE|TRUNCATE)\b/.exec(words)?.[1];
    if (operation === undefined || xid === 0) return;
    const open = this.#openOf(xid);
    if (operation === 'TRUNCATE') {
      const oids = /\brelids:? \[?([\d, ]+)/.exec(words)?.[1] ?? '';
      open.truncated.push(...oids.split(/[ ,]+/).filter(Boolean).map(Number));
      return;
    }
    const block = /blkref #0: rel \d+\/(\d+)\/(\d+) /.exec(words);
    if (block === null) return;
    const file = `${block[1]}/${block[2]}`;
    const counts = open.files.get(file) ?? { file, inserted: 0, updated: 0, deleted: 0 };
    open.files.set(file, counts);
    if (operation === 'DELETE') counts.deleted++;
    else if (operation === 'INSERT') counts.inserted++;
    else if (operation === 'MULTI_INSERT') counts.inserted += Number(/ntuples:? (\d+)/.exec(words)?.[1] ?? 1);
    else counts.updated++;
  }

  #end(tx: number, lsn: string, words: string): void {
    const match =
      /^(COMMIT_PREPARED|COMMIT|ABORT_PREPARED|ABORT)\b.*?(?:(\d+): )?(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d[.\d]*)/.exec(
        words,
      );
    if (match === null) return;
    const [, kind = '', prepared, day = '', time = ''] = match;
    const xid = prepared === undefined ? tx : Number(prepared);
    const subxids = (/subxacts: ([\d ]+)/.exec(words)?.[1] ?? '').split(' ').filter(Boolean).map(Number);
    const parts = [xid, ...subxids].flatMap((id) => this.#open.get(id) ?? []);
    for (const id of [xid, ...subxids]) this.#open.delete(id);
    if (kind.startsWith('ABORT')) return;
    this.#onTransaction({
      xid,
      subxids,
      atMs: Date.parse(`${day}T${time}Z`),
      lsn,
      timeline: this.timeline,
      files: sumFiles(parts),
      removedFiles: removedFilesOf(words),
      truncated: parts.flatMap(({ truncated }) => truncated),
      dropsDatabase: parts.some(({ dropsDatabase }) => dropsDatabase),
    });
  }

  #openOf(xid: number): Open {
    const open = this.#open.get(xid) ?? { files: new Map(), truncated: [], dropsDatabase: false };
    this.#open.set(xid, open);
    return open;
  }
}

/** `rels: base/5/16385 base/5/16388;` of a commit; in a tablespace of its own a file has a longer path. */
function removedFilesOf(words: string): readonly string[] {
  const list = /; rels: ([^;]+)/.exec(words)?.[1] ?? '';
  return list.split(' ').flatMap((path) => {
    const match = /(?:^|\/)(\d+)\/(\d+)$/.exec(path);
    return match === null ? [] : [`${match[1]}/${match[2]}`];
  });
}

function sumFiles(parts: readonly Open[]): readonly FileCounts[] {
  const sums = new Map<string, FileCounts>();
  for (const { file, inserted, updated, deleted } of parts.flatMap(({ files }) => [...files.values()])) {
    const sum = sums.get(file) ?? { file, inserted: 0, updated: 0, deleted: 0 };
    sums.set(file, sum);
    sum.inserted += inserted;
    sum.updated += updated;
    sum.deleted += deleted;
  }
  return [...sums.values()];
}

/** Keeps the newest transactions of a reading that may have very many, and apart from them those that may be a mistake. */
export class NewestTransactions {
  readonly #newest: LoggedTransaction[] = [];
  readonly #suspicious: LoggedTransaction[] = [];
  isCutOff = false;

  /** In the order of their commits. */
  get all(): readonly LoggedTransaction[] {
    const newest = new Set(this.#newest);
    return [...this.#suspicious.filter((transaction) => !newest.has(transaction)), ...this.#newest];
  }

  add(transaction: LoggedTransaction): void {
    if (maySuspect(transaction)) this.#suspicious.push(transaction);
    if (this.#suspicious.length > MAX_TRANSACTIONS) this.#suspicious.splice(0, MAX_TRANSACTIONS / 10);
    this.#newest.push(transaction);
    if (this.#newest.length <= MAX_TRANSACTIONS) return;
    this.isCutOff = true;
    this.#newest.splice(0, MAX_TRANSACTIONS / 10);
  }
}

/** More rows than an app's transaction writes. */
export const MANY_ROWS = 100;

/** It took something away as a whole, or wrote many rows. */
function maySuspect({ files, removedFiles, truncated, dropsDatabase }: LoggedTransaction): boolean {
  return (
    dropsDatabase ||
    removedFiles.length + truncated.length > 0 ||
    files.some(({ updated, deleted }) => updated + deleted >= MANY_ROWS)
  );
}

import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { EventLog } from '../report/event-log.ts';
import { DangerJudge } from './core/danger.ts';
import type { CatalogTable, JudgedTransaction } from './core/danger.ts';
import { RowGrowth } from './core/row-growth.ts';
import type { CountWanted } from './core/row-growth.ts';
import { NewestTransactions, TransactionReading } from './core/transactions.ts';
import type { LoggedTransaction } from './core/transactions.ts';
import type { DelayedNode } from './delayed-node.ts';
import { readWrittenEnd, untilArrived } from './log-arrival.ts';
import type { LogGap } from './log-arrival.ts';
import { canListLog, readCatalogs, readTransactions } from './log-reading.ts';
import type { LogRange } from './log-reading.ts';
import type { RescueBefore } from './rescue-command.ts';
import type { RescueTarget } from './rescue-file.ts';
import type { LocalPort } from '../ports.ts';
import { countTables, RowCount } from './row-count.ts';
import { connectAsSuperuser } from './superuser.ts';

const ARRIVAL_TIMEOUT_MS = 2_000;
const ARRIVAL_CHECK_MS = 20;

/** What the command `list` answers, oldest transaction first. */
export interface RescueList {
  readonly node: string;
  readonly transactions: readonly JudgedTransaction[];
  /** There were too many: the oldest are left out, but for those that took something as a whole, or many rows. */
  readonly isCutOff: boolean;
  /** More may have been committed before it was asked for; null when not. */
  readonly gap: LogGap | null;
}

export interface RescueOptions {
  readonly clock: Clock;
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly local: LocalPort;
  readonly delayed: DelayedNode;
  readonly events: EventLog;
  /** Who leads and serves; null while nobody does. */
  readonly leader: () => NodeConfig | null;
}

/** What a delayed node's log tells: which transactions there were, and where one of them committed. */
export class RescueLog {
  readonly #options: RescueOptions;

  constructor(options: RescueOptions) {
    this.#options = options;
  }

  /** To be awaited before a rescue is opened, which no rounds go on beside: a node that was just copied anew has no log for a moment. */
  async untilAny(): Promise<void> {
    await untilArrived(this.#options.clock, this.#options.delayed.keeper, null);
  }

  /** What committed in the last `sinceMs`, or all that is kept. Throws as {@link readTransactions} does. */
  async list(sinceMs: number | null): Promise<RescueList> {
    const { node, local, delayed } = this.#options;
    const startMs = sinceMs === null ? 0 : Date.now() - sinceMs;
    const newest = new NewestTransactions();
    const growth = new RowGrowth();
    const reading = new TransactionReading((transaction) => {
      growth.add(transaction);
      if (transaction.atMs >= startMs && doesAnything(transaction)) newest.add(transaction);
    });
    const gap = await this.#untilArrived();
    const range = await this.#range(startMs);
    await readTransactions({ range, ...local.programs, reading });
    const shown = await readCatalogs((database) => local.server.connect(database)).catch(() => []);
    const present = await this.#presentCatalogs();
    const catalogs = { past: [...shown, ...(await delayed.tables.all())], present };
    const counted = await this.#countRows(growth.wanted(newest.all), { shown, present });
    if (counted.lsn > range.toLsn) await this.#readOn(range, counted.lsn, reading);
    const judge = new DangerJudge({
      ...catalogs,
      counted: (transaction, file) => counted.before(growth, transaction, file),
    });
    const replayed = await this.#replayedUntil();
    const { kind } = delayed.replay;
    const delayMs = kind === 'delayed' ? delayed.delayMs : null;
    return {
      node: node.name,
      gap,
      isCutOff: newest.isCutOff,
      transactions: newest.all.map((transaction) => {
        const isReplayed = kind !== 'apart' && parseLsn(transaction.lsn) < replayed;
        return judge.judge(transaction, { isReplayed, delayMs });
      }),
    };
  }

  /** On the leader, and here where its table is another by now. */
  async #countRows(
    wanted: readonly CountWanted[],
    {
      shown,
      present,
    }: { readonly shown: readonly CatalogTable[]; readonly present: readonly CatalogTable[] | null },
  ): Promise<RowCount> {
    const { config, local, leader } = this.#options;
    const upstream = leader();
    const onLeader =
      upstream === null || present === null
        ? null
        : await countTables(
            (database) => connectAsSuperuser(config, upstream, database),
            present,
            wanted,
          ).catch(() => null);
    const others = wanted.filter(({ file }) => onLeader?.rows.has(file) !== true);
    const here = await countTables((database) => local.server.connect(database), shown, others).catch(
      () => null,
    );
    return new RowCount(wanted, onLeader, here);
  }

  /** What came until the rows had been counted, for else a busy table would seem to have had too many before. */
  async #readOn(range: LogRange, until: Lsn, reading: TransactionReading): Promise<void> {
    const { local, delayed, clock } = this.#options;
    const { keeper } = delayed;
    const deadlineMs = clock.nowMs() + ARRIVAL_TIMEOUT_MS;
    const received = (): Lsn => keeper.flushedLsn ?? range.toLsn;
    while (received() < until && clock.nowMs() < deadlineMs) await clock.sleep(ARRIVAL_CHECK_MS);
    if (keeper.timeline !== range.history.timeline) return;
    const rest = { ...range, fromLsn: range.toLsn, toLsn: received() };
    await readTransactions({ range: rest, ...local.programs, reading }).catch(() => undefined);
  }

  async #untilArrived(): Promise<LogGap | null> {
    const { clock, config, delayed, leader } = this.#options;
    const upstream = leader();
    const written = upstream && (await readWrittenEnd(config, upstream).catch(() => null));
    return untilArrived(clock, delayed.keeper, written);
  }

  /** Where to stop. Throws CONFIG_INVALID when there is no such point, or it has been passed. */
  async find(before: RescueBefore): Promise<RescueTarget> {
    const { node, local } = this.#options;
    const gap = await this.#untilArrived();
    const range = await this.#range(0);
    const replayed = await this.#replayedUntil();
    if (before.kind === 'lsn') {
      const lsn = parseLsn(before.lsn);
      if (lsn < replayed) throw this.#passed(`The position ${before.lsn}`);
      if (lsn > range.toLsn)
        throw invalid(
          `The position ${before.lsn} has not been written yet: the log here ends at ${formatLsn(range.toLsn)}. Nothing was changed.`,
        );
      const found = canListLog(local.programs.binaries) ? await this.#search(range, before) : null;
      return atPosition(formatLsn(lsn), found);
    }
    if (!canListLog(local.programs.binaries)) return this.#unlisted(before);
    const found = await this.#search(range, before);
    const what =
      before.kind === 'xid' ? `Transaction ${before.xid}` : 'The first transaction after that time';
    if (found === null) {
      if (before.kind === 'time')
        throw invalid(
          `Nothing was committed at or after ${new Date(before.atMs).toISOString()} that ${node.name} has heard of${reach(gap)}; nothing was changed. See "lockstep rescue list".`,
        );
      throw invalid(
        `There is no committed transaction ${before.xid} in the log that ${node.name} keeps${reach(gap)}; nothing was changed. See "lockstep rescue list".`,
      );
    }
    if (parseLsn(found.lsn) < replayed) throw this.#passed(what);
    return atPosition(found.lsn, found);
  }

  /** Without a listing PostgreSQL has to find the point itself; it fails, with nothing lost, when there is none. */
  async #unlisted(before: Exclude<RescueBefore, { kind: 'lsn' }>): Promise<RescueTarget> {
    const rest = { lsn: null, subxids: [], onlyUpdated: [] };
    if (before.kind === 'xid') {
      const { xid } = before;
      return { ...rest, xid, at: null, setting: { name: 'recovery_target_xid', value: String(xid) } };
    }
    const at = new Date(before.atMs).toISOString();
    const seen = await this.#options.local.probe();
    if (seen !== null && Date.now() - seen.lastCommitAgeMs > before.atMs)
      throw this.#passed(`What was at ${at}`);
    return { ...rest, xid: null, at, setting: { name: 'recovery_target_time', value: at } };
  }

  async #search(range: LogRange, before: RescueBefore): Promise<LoggedTransaction | null> {
    let found: LoggedTransaction | null = null;
    const reading = new TransactionReading((transaction) => {
      if (isAfter(transaction, before)) found ??= transaction;
    });
    await readTransactions({ range, ...this.#options.local.programs, reading });
    return found;
  }

  async #replayedUntil(): Promise<Lsn> {
    const seen = await this.#options.local.probe();
    return seen?.isInRecovery === true ? seen.replayedLsn : (0n as Lsn);
  }

  /** From what came at `startMs` on. */
  async #range(startMs: number): Promise<LogRange> {
    const { node, delayed } = this.#options;
    const { keeper } = delayed;
    const archive = await keeper.archive();
    const segments = (await archive?.segments()) ?? [];
    const history = keeper.timeline === null ? null : ((await archive?.history(keeper.timeline)) ?? null);
    const [first] = segments;
    if (archive === null || history === null || first === undefined || keeper.flushedLsn === null) {
      throw invalid(
        `See in "lockstep status" whether ${node.name} follows, and try again: it has received no log yet. Nothing was changed.`,
      );
    }
    let from = first.startLsn;
    for (const segment of segments) {
      const writtenAtMs = await archive.writtenAt(segment);
      if (writtenAtMs !== null && writtenAtMs < startMs) from = segment.startLsn;
    }
    return { archive, history, fromLsn: from, toLsn: keeper.flushedLsn };
  }

  async #presentCatalogs(): Promise<readonly CatalogTable[] | null> {
    const { config, leader } = this.#options;
    const upstream = leader();
    if (upstream === null) return null;
    return readCatalogs((database) => connectAsSuperuser(config, upstream, database)).catch(() => null);
  }

  #passed(what: string): LockstepError {
    const { node } = this.#options;
    return invalid(
      `${what} has been replayed on ${node.name} already, which stays ${node.delay} behind: what was before cannot be read there any more. Nothing was changed.`,
    );
  }
}

/** The agents' own checks that the disk takes writes leave commits too. */
function doesAnything({ files, removedFiles, truncated, dropsDatabase }: LoggedTransaction): boolean {
  return files.length + removedFiles.length + truncated.length > 0 || dropsDatabase;
}

/** Whether this is the transaction that is meant, or the first one that is not to be seen. */
function isAfter(transaction: LoggedTransaction, before: RescueBefore): boolean {
  switch (before.kind) {
    case 'xid':
      return transaction.xid === before.xid || transaction.subxids.includes(before.xid);
    case 'lsn':
      return parseLsn(transaction.lsn) >= parseLsn(before.lsn);
    case 'time':
      return transaction.atMs >= before.atMs;
    default:
      return before satisfies never;
  }
}

function atPosition(lsn: string, found: LoggedTransaction | null): RescueTarget {
  const changed = found?.files.filter(({ updated, deleted }) => updated > 0 && deleted === 0) ?? [];
  return {
    lsn,
    xid: found?.xid ?? null,
    subxids: found?.subxids ?? [],
    at: found === null ? null : new Date(found.atMs).toISOString(),
    onlyUpdated: changed.map(({ file }) => Number(file.split('/')[1])),
    setting: { name: 'recovery_target_lsn', value: lsn },
  };
}

function reach(gap: LogGap | null): string {
  if (gap === null) return '';
  return gap.leaderLsn === null
    ? `, which reaches ${gap.receivedLsn} while nobody leads`
    : `, which reaches ${gap.receivedLsn} of ${gap.leaderLsn}`;
}

function invalid(message: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', message);
}

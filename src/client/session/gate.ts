import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { isSynchronous } from '../../model/durability.ts';
import type { SynchronousCommit } from '../../model/durability.ts';
import { parseTimeline } from '../../model/timeline.ts';
import type { ConsistencyToken } from '../../model/token.ts';
import { endOfLastRecord } from './core/session.ts';
import type { OwnStatement } from '../../wire/batch.ts';
import type { ExchangeReport } from '../../wire/contract.ts';

/**
 * A gate stands in front of a statement and divides by zero when the follower is not far enough. It also does
 * so where the transaction would keep its first snapshot (REPEATABLE READ as the default): the statement
 * would then see the state from before a wait. The statement behind it takes a snapshot of its own; were the
 * two one statement, its snapshot could be older than the check.
 */
const TAKES_NEW_SNAPSHOTS = `pg_catalog.current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')`;

const IS_FAR_ENOUGH = `1 / (pg_catalog.pg_last_wal_replay_lsn() >= $1::pg_catalog.pg_lsn AND ${TAKES_NEW_SNAPSHOTS})::pg_catalog.int4`;

/** No row: that there is no error is the answer. */
const LOOK_SQL = `SELECT WHERE ${IS_FAR_ENOUGH} = 0`;

/**
 * Its row tells how far the follower is, so that the next reads may need no gate. Asked twice, and not by FROM, which would cost the
 * server half as much again; the second answer is no earlier than the first.
 */
const LOOK_FAR_SQL = `SELECT pg_catalog.pg_last_wal_replay_lsn() WHERE ${IS_FAR_ENOUGH} = 1`;

/** Waits, a millisecond at a time, until the follower has replayed up to $1, for about $2 steps. */
const WAIT_SQL = `WITH RECURSIVE wait(step, lsn) AS (
  SELECT 0, pg_catalog.pg_last_wal_replay_lsn()
  UNION ALL
  SELECT step + 1, CASE WHEN pg_catalog.pg_sleep(0.001) IS NOT NULL THEN pg_catalog.pg_last_wal_replay_lsn() END
  FROM wait WHERE lsn < $1::pg_catalog.pg_lsn AND step < $2::pg_catalog.int4)
SELECT max(lsn) FROM wait
HAVING 1 / (max(lsn) >= $1::pg_catalog.pg_lsn AND ${TAKES_NEW_SNAPSHOTS})::pg_catalog.int4 = 1`;

/**
 * Waits on the leader until every transaction that a follower may have shown as committed is visible here
 * too: a commit is replayed, and visible, on a follower while it still waits on the leader for that
 * follower's confirmation. $1 is the end of the follower's snapshot. A statement's own snapshot stands
 * still, hence pg_xact_status, which looks at the running transactions each time.
 */
const LEADER_GATE_SQL = `WITH RECURSIVE doubtful(xids) AS MATERIALIZED (
  SELECT array(SELECT x FROM pg_catalog.pg_snapshot_xip(s) AS x WHERE x < $1::pg_catalog.xid8)
    || array(SELECT n::pg_catalog.text::pg_catalog.xid8 FROM pg_catalog.generate_series(
      pg_catalog.pg_snapshot_xmax(s)::pg_catalog.text::pg_catalog.int8, $1::pg_catalog.text::pg_catalog.int8 - 1) AS n)
  FROM pg_catalog.pg_current_snapshot() AS s
), wait(step, is_open) AS (
  SELECT 0, EXISTS (SELECT FROM unnest(xids) AS x WHERE pg_catalog.pg_xact_status(x) = 'in progress') FROM doubtful
  UNION ALL
  SELECT step + 1, CASE WHEN pg_catalog.pg_sleep(0.001) IS NOT NULL
    THEN EXISTS (SELECT FROM unnest(xids) AS x WHERE pg_catalog.pg_xact_status(x) = 'in progress') END
  FROM wait, doubtful WHERE is_open AND step < $2::pg_catalog.int4)
SELECT 1 / (NOT bool_and(is_open) AND ${TAKES_NEW_SNAPSHOTS})::pg_catalog.int4
FROM wait`;

const DIVISION_BY_ZERO = '22012';

/** An own statement's row; null when it was not asked, or failed. */
type Answer = ReturnType<ExchangeReport['answerOf']>;

/**
 * In front of a statement: it runs on a follower only at or past `lsn`, for which it may wait. `tellsFar`: it also tells how far the follower
 * is, which pays where many callers wait for each other's writes.
 */
export function createGate(lsn: Lsn, waitMs: number, tellsFar: boolean): OwnStatement {
  if (waitMs === 0) return tellsFar ? lookFar(lsn) : look(lsn);
  return { name: 'lockstep_wait', text: WAIT_SQL, values: [formatLsn(lsn), String(Math.round(waitMs))] };
}

/** Keeps the last one made: a session looks for the same position until it writes again. */
function looking(name: string, text: string): (lsn: Lsn) => OwnStatement {
  let last: { readonly lsn: Lsn; readonly look: OwnStatement } | null = null;
  return (lsn) => {
    if (last?.lsn !== lsn) last = { lsn, look: { name, text, values: [formatLsn(lsn)] } };
    return last.look;
  };
}

const look = looking('lockstep_look', LOOK_SQL);
const lookFar = looking('lockstep_look_far', LOOK_FAR_SQL);

/** How far a follower was whose gate let a statement through; null when the gate did not tell. */
export function readGateAnswer(report: ExchangeReport, gate: OwnStatement): Lsn | null {
  const [lsn] = report.answerOf(gate.name) ?? [];
  return lsn == null ? null : readPosition(lsn);
}

/** In front of a statement: it runs on the leader only when that shows what a follower has shown. */
export function createLeaderGate(snapshotEnd: string, waitMs: number): OwnStatement {
  return {
    name: 'lockstep_leader_gate',
    text: LEADER_GATE_SQL,
    values: [snapshotEnd, String(Math.round(waitMs))],
  };
}

/** Whether the server was not far enough: the gate raised, and the statement did not run. */
export function isGateMiss(report: ExchangeReport): boolean {
  if (report.failedIn !== 'before' || report.isBroken || report.error === null) return false;
  return 'code' in report.error && report.error.code === DIVISION_BY_ZERO;
}

/** In front of a statement: the durability of the transaction that it runs in. */
export function createDurability(level: SynchronousCommit): OwnStatement {
  return DURABILITY[level];
}

const setDurability = (level: SynchronousCommit): OwnStatement => ({
  name: 'lockstep_durability',
  text: `SELECT pg_catalog.set_config('synchronous_commit', $1, true)`,
  values: [level],
});

const DURABILITY: Readonly<Record<SynchronousCommit, OwnStatement>> = {
  off: setDurability('off'),
  local: setDurability('local'),
  remote_write: setDurability('remote_write'),
  on: setDurability('on'),
  remote_apply: setDurability('remote_apply'),
};

/** Behind BEGIN: its transaction's durability. Unlike a SELECT it takes no snapshot. */
export function createLocalDurability(level: SynchronousCommit): OwnStatement {
  return {
    name: `lockstep_durability_${level}`,
    text: `SET LOCAL synchronous_commit TO ${level}`,
    values: [],
  };
}

/** Asked of a follower behind a read: how far it has replayed, how far it can have, its snapshot's end. */
export const FOLLOWER_QUESTION: OwnStatement = {
  name: 'lockstep_sight',
  text: `SELECT pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn(),
 pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())`,
  values: [],
};

/**
 * Asked of the leader behind a commit: the flushed position covers every commit that waited for the disk;
 * where the setting says that commits do not, the insert position covers them.
 */
export const LEADER_QUESTION: OwnStatement = {
  name: 'lockstep_position',
  text: `SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 1, 8),
 pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_insert_lsn(),
 pg_catalog.current_setting('synchronous_commit'), pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
 pg_catalog.current_setting('synchronous_standby_names') <> ''`,
  values: [],
};

/** What the leader's answer stands for as a token. */
export interface LeaderPosition extends ConsistencyToken {
  /** The end of its log, which nothing visible there is past. */
  readonly end: Lsn;
  /** Whether it has followers that synchronous commits wait for. */
  readonly hasStandbys: boolean;
  /** Whether a commit that it acknowledged had to be on a follower's disk first. */
  readonly isConfirmed: boolean;
}

/**
 * Reads what the leader told behind a commit. `level` is what the commit was asked to wait for, null for the
 * server's setting. Null when the question was not answered.
 */
export function readLeaderAnswer(answer: Answer, level: SynchronousCommit | null): LeaderPosition | null {
  const [timeline, flushed, inserted, setting, segmentBytes, hasStandbys] = answer ?? [];
  if (timeline == null || flushed == null || inserted == null) return null;
  const end = parseLsn(inserted);
  const isUnflushed = level === 'off' || setting === 'off';
  return {
    timeline: parseTimeline(Number.parseInt(timeline, 16)),
    lsn: isUnflushed ? endOfLastRecord(end, Number(segmentBytes)) : parseLsn(flushed),
    end,
    hasStandbys: hasStandbys === 't',
    isConfirmed: hasStandbys === 't' && isSynchronous(level ?? (setting as SynchronousCommit)),
  };
}

/** A follower's replay position, and a position that nothing visible there is past. */
export interface FollowerPosition {
  readonly replayed: Lsn;
  /**
   * A commit becomes visible just before its position is reported as replayed. What was received bounds
   * it; a follower that restores from an archive reports less received than replayed.
   */
  readonly bound: Lsn;
  /** The first transaction id that was surely not visible there. */
  readonly snapshotEnd: string | null;
}

/** The position read last: between writes, every answer names the same one. */
let lastRead: { readonly text: string; readonly lsn: Lsn } | null = null;

function readPosition(text: string): Lsn {
  if (lastRead?.text !== text) lastRead = { text, lsn: parseLsn(text) };
  return lastRead.lsn;
}

/** Null when the question was not answered, or the server reports no positions. */
export function readFollowerAnswer(answer: Answer): FollowerPosition | null {
  if (answer === null) return null;
  const [replayedText, receivedText, snapshotEnd] = answer;
  if (replayedText == null) return null;
  const replayed = readPosition(replayedText);
  const received = receivedText == null ? replayed : readPosition(receivedText);
  return { replayed, bound: received > replayed ? received : replayed, snapshotEnd: snapshotEnd ?? null };
}

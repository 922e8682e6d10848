import type pg from 'pg';
import { parseLsn } from '../model/lsn.ts';
import type { Lsn } from '../model/lsn.ts';
import { parseTimeline } from '../model/timeline.ts';
import type { Timeline } from '../model/timeline.ts';

/** A follower as its leader sees it (pg_stat_replication). */
export interface ProbedFollower {
  readonly name: string;
  readonly isStreaming: boolean;
  readonly flushLsn: Lsn | null;
}

export interface Probe {
  readonly isInRecovery: boolean;
  /** The timeline of the newest log this server holds. */
  readonly timeline: Timeline;
  /** Leader: flushed to its disk. Follower: the end of what it received and can replay. */
  readonly receivedLsn: Lsn;
  readonly replayedLsn: Lsn;
  /**
   * How long ago the newest replayed commit was made; 0 when everything received is replayed while its leader is heard: of
   * what one that hears nothing has not received, it cannot know.
   */
  readonly replayAgeMs: number;
  /** The same, whatever is replayed; 0 on a leader, and before the first. */
  readonly lastCommitAgeMs: number;
  /** Whether a walreceiver streams, and from which port. */
  readonly isReceiving: boolean;
  /** Since the last message to the walreceiver; null without one. Whoever leads writes something every second. */
  readonly silentForMs: number | null;
  /** Whether a walreceiver process exists at all, also one that is only connecting. */
  readonly hasReceiver: boolean;
  /** It has streamed since its start, which it does only after replaying all that it held. */
  readonly hasStreamed: boolean;
  /** Recovery found nothing more to read: `replayedLsn` is the end of all that this server holds. */
  readonly isAtLogEnd: boolean;
  /** Replay waits: somebody asked for it, or a setting is too low for the leader's log. */
  readonly isReplayPaused: boolean;
  readonly synchronousStandbyNames: string;
  readonly followers: readonly ProbedFollower[];
}

interface ProbeRow {
  readonly in_recovery: boolean;
  readonly received: string;
  readonly replayed: string;
  readonly segment_timeline: string | null;
  readonly receiver_timeline: number | null;
  readonly receiver_status: string | null;
  readonly silent_ms: number | null;
  readonly age_ms: number;
  readonly has_streamed: boolean;
  readonly startup_wait: string | null;
  readonly is_replay_paused: boolean;
  readonly standby_names: string;
  readonly followers: readonly { name: string; state: string; flush: string | null }[] | null;
}

/** A reconnect takes less, and between the messages of a leader lies less. */
const HEARS_WITHIN_MS = 2_000;

/**
 * The timeline of a follower without a walreceiver is read off the log segment that holds its last
 * position: the control file lags behind by up to a restart point. A position at a segment's first byte
 * belongs to the segment before.
 */
const PROBE_SQL = `
WITH position AS (
  SELECT pg_is_in_recovery() AS in_recovery,
         CASE WHEN pg_is_in_recovery()
              THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
              ELSE pg_current_wal_flush_lsn() END AS received,
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS replayed
), segment AS (
  SELECT ceil((received - '0/0'::pg_lsn) / size.bytes)::numeric - 1 AS number, 4294967296 / size.bytes AS per_file
    FROM position, (SELECT setting::numeric AS bytes FROM pg_settings WHERE name = 'wal_segment_size') AS size
)
SELECT in_recovery, received::text, replayed::text,
       CASE WHEN in_recovery
            THEN (SELECT max(left(name, 8)) FROM pg_ls_waldir(), segment
                   WHERE name ~ '^[0-9A-F]{24}$'
                     AND substr(name, 9) = upper(lpad(to_hex(div(number, per_file)::bigint), 8, '0')
                                              || lpad(to_hex(mod(number, per_file)::bigint), 8, '0')))
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS segment_timeline,
       (SELECT received_tli FROM pg_stat_wal_receiver) AS receiver_timeline,
       (SELECT status FROM pg_stat_wal_receiver) AS receiver_status,
       (SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000 FROM pg_stat_wal_receiver)::float8 AS silent_ms,
       CASE WHEN NOT in_recovery THEN 0
            ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000, 0) END::float8 AS age_ms,
       in_recovery AND pg_last_wal_receive_lsn() IS NOT NULL AS has_streamed,
       (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS startup_wait,
       CASE WHEN in_recovery THEN pg_get_wal_replay_pause_state() = 'paused' ELSE false END AS is_replay_paused,
       current_setting('synchronous_standby_names') AS standby_names,
       (SELECT json_agg(json_build_object('name', application_name, 'state', state, 'flush', flush_lsn::text))
          FROM pg_stat_replication) AS followers
  FROM position`;

/** Whether it is a follower. */
export async function askIsInRecovery(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ is_in_recovery: boolean }>(
    'SELECT pg_is_in_recovery() AS is_in_recovery',
  );
  return rows[0]?.is_in_recovery ?? true;
}

/** One round trip that tells a server's role, positions, timeline and followers. As superuser. */
export async function probe(client: pg.Client): Promise<Probe> {
  const { rows } = await client.query<ProbeRow>({ name: 'lockstep-probe', text: PROBE_SQL });
  const row = rows[0];
  if (row === undefined) throw new Error('the probe returned no row');
  const ageMs = Math.max(0, Math.round(row.age_ms));
  const isReceiving = row.receiver_status === 'streaming';
  const silentForMs = row.silent_ms === null ? null : Math.max(0, Math.round(row.silent_ms));
  const isHearing = isReceiving && silentForMs !== null && silentForMs < HEARS_WITHIN_MS;
  const timeline = row.segment_timeline === null ? 1 : Number.parseInt(row.segment_timeline, 16);
  return {
    isInRecovery: row.in_recovery,
    timeline: parseTimeline(Math.max(timeline, row.in_recovery ? (row.receiver_timeline ?? 1) : 1)),
    receivedLsn: parseLsn(row.received),
    replayedLsn: parseLsn(row.replayed),
    replayAgeMs: isHearing && row.received === row.replayed ? 0 : ageMs,
    lastCommitAgeMs: ageMs,
    isReceiving,
    silentForMs,
    hasReceiver: row.receiver_status !== null,
    hasStreamed: row.has_streamed,
    isAtLogEnd: row.startup_wait === 'RecoveryRetrieveRetryInterval',
    isReplayPaused: row.is_replay_paused,
    synchronousStandbyNames: row.standby_names,
    followers: (row.followers ?? []).map((follower) => ({
      name: follower.name,
      isStreaming: follower.state === 'streaming',
      flushLsn: follower.flush === null ? null : parseLsn(follower.flush),
    })),
  };
}

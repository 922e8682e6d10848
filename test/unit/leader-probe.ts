import { parseLsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import type { Probe } from '../../src/postgres/probe.ts';

/** What a leader's PostgreSQL shows that nobody follows. */
export const LEADER_PROBE: Probe = {
  isInRecovery: false,
  timeline: parseTimeline(1),
  receivedLsn: parseLsn('0/3000000'),
  replayedLsn: parseLsn('0/3000000'),
  replayAgeMs: 0,
  lastCommitAgeMs: 0,
  isReceiving: false,
  silentForMs: null,
  hasReceiver: false,
  hasStreamed: false,
  isAtLogEnd: false,
  isReplayPaused: false,
  synchronousStandbyNames: '',
  followers: [],
};

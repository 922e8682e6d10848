import type pg from 'pg';
import { LatencyRecord, runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import type { LockstepPool, Session } from '../../../src/index.ts';
import { ITEM_COUNT } from '../servers.ts';
import { askReplayed } from './ask-lsn.ts';
import { openLockstep, openPlain, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

export interface GateOptions {
  /** Leader and one follower. */
  readonly target: Target;
  readonly isChecked: boolean;
  /**
   * `known`: the session's position is one that the follower was seen past. `new`: before each burst of
   * reads, one for every connection, another client writes, and the follower has replayed it, which the
   * pool cannot know; only the bursts are timed.
   */
  readonly position: 'known' | 'new';
}

const READ = 'SELECT id, name, price, v FROM item WHERE id = $1';
const WRITE = 'UPDATE item SET price = price + 1 WHERE id = $1';
/** In one message with the write, so behind its commit. */
const ASK_TOKEN = `SELECT timeline_id || '-' || pg_current_wal_flush_lsn() AS token, pg_current_wal_flush_lsn() AS lsn
  FROM pg_control_checkpoint()`;

/** The same read on the same follower with the check of a session's position, and without. */
export async function createWorkload({ target, isChecked, position }: GateOptions): Promise<Workload> {
  const pool = openLockstep(target);
  const leader = openPlain({ ...target, connections: 1 });
  const follower = openPlain({ ...target, connections: 1 }, target.hosts[1]);
  const nextId = scatteredIds(ITEM_COUNT);
  const read = (session: Session): Promise<unknown> =>
    isChecked ? session.query(READ, [nextId()]) : pool.query(READ, [nextId()]);
  const renew = async (): Promise<() => Session> => {
    await leader.query(WRITE, [nextId()]);
    const { rows } = await leader.query<{ token: string; lsn: string }>(ASK_TOKEN);
    const { token = '', lsn = '' } = rows[0] ?? {};
    while (!(await askReplayed(follower, lsn)));
    return () => pool.session({ token });
  };
  const counters = createCounters(pool, target);
  await read((await renew())());
  return {
    round: async (durationMs) => {
      counters.reset();
      if (position === 'new') return runBursts(target.connections, durationMs, renew, read, counters.read);
      const session = (await renew())();
      return runClosedLoop(target.connections, durationMs, () => read(session), counters.read);
    },
    end: async () => void (await Promise.all([pool, leader, follower].map((one: pg.Pool) => one.end()))),
  };
}

/** Times only the bursts; an operation is one read. */
async function runBursts(
  size: number,
  durationMs: number,
  renew: () => Promise<() => Session>,
  read: (session: Session) => Promise<unknown>,
  readCounters: () => Readonly<Record<string, number>>,
): ReturnType<typeof runClosedLoop> {
  const record = new LatencyRecord();
  const deadlineMs = performance.now() + durationMs;
  let timedMs = 0;
  while (performance.now() < deadlineMs) {
    const sessions = Array.from({ length: size }, await renew());
    const startedAtMs = performance.now();
    const timed = async (session: Session): Promise<void> => {
      await read(session);
      record.add(performance.now() - startedAtMs);
    };
    await Promise.all(sessions.map(timed));
    timedMs += performance.now() - startedAtMs;
  }
  return record.report(timedMs, readCounters());
}

interface Counters {
  reset(): void;
  readonly read: () => Readonly<Record<string, number>>;
}

/** What the pool says of this round: reads behind a gate, and reads on the follower. */
function createCounters(pool: LockstepPool, target: Target): Counters {
  const followerName = `${target.hosts[1]?.host}:${target.hosts[1]?.port}`;
  const now = (): { gated: number; followerReads: number } => {
    const { gatePasses, gateMisses, readsByNode } = pool.stats();
    return { gated: gatePasses + gateMisses, followerReads: readsByNode[followerName] ?? 0 };
  };
  let before = now();
  return {
    reset: () => (before = now()),
    read: () => {
      const after = now();
      return {
        gated: after.gated - before.gated,
        followerReads: after.followerReads - before.followerReads,
      };
    },
  };
}

import type pg from 'pg';
import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import type { LockstepPool, Queryable } from '../../../src/index.ts';
import { ITEM_COUNT } from '../servers.ts';
import { askReplayed } from './ask-lsn.ts';
import { openLockstep, openPlain } from './target.ts';
import type { Target } from './target.ts';

export interface CausalMixOptions {
  /** Leader first, then the followers. */
  readonly target: Target;
  /** `blind` reads wherever it is; `ask` asks for log positions in round trips of their own. */
  readonly way: 'session' | 'pool' | 'blind' | 'ask';
  /** Marks the rows that this contestant writes. */
  readonly mark: string;
}

const WRITE = 'UPDATE item SET v = $2 WHERE id = $1';
/** The server that answers tells for itself which one it is. */
const READ = 'SELECT v, inet_server_port() AS port FROM item WHERE id = $1';
const READS_PER_WRITE = 4;

interface ReadRow {
  readonly v: string;
  readonly port: number;
}

/** One loop: a write, then reads of the same row one after another. */
type Loop = (id: number, value: string, note: (result: pg.QueryResult<ReadRow>) => void) => Promise<void>;

/** A write, then four reads of what was written; every read is checked. */
export async function createWorkload({ target, way, mark }: CausalMixOptions): Promise<Workload> {
  const { loop, end } = openLoop(target, way);
  const counters = { reads: 0, staleReads: 0, followerReads: 0 };
  const leaderPort = target.hosts[0]?.port;
  let written = 0;
  const rowsPerCaller = Math.floor(ITEM_COUNT / target.connections);
  const operation = async (caller: number): Promise<void> => {
    written += 1;
    const value = `${mark}-${written}`;
    // Nobody else writes this caller's rows.
    const id = 1 + caller * rowsPerCaller + (written % rowsPerCaller);
    await loop(id, value, ({ rows }) => {
      counters.reads += 1;
      if (rows[0]?.v !== value) counters.staleReads += 1;
      if (rows[0]?.port !== leaderPort) counters.followerReads += 1;
    });
  };
  await operation(0);
  return {
    round: (durationMs) => {
      Object.assign(counters, { reads: 0, staleReads: 0, followerReads: 0 });
      return runClosedLoop(target.connections, durationMs, operation, () => ({ ...counters }));
    },
    end,
  };
}

interface OpenLoop {
  readonly loop: Loop;
  end(): Promise<unknown>;
}

function openLoop(target: Target, way: CausalMixOptions['way']): OpenLoop & { end(): Promise<void> } {
  const isOurs = way === 'session' || way === 'pool';
  const opened = isOurs ? openOurLoop(openLockstep(target), way) : openPlainLoop(target, way);
  return { loop: opened.loop, end: async () => void (await opened.end()) };
}

/** A session for each loop, or the pool as it is by default: all workers wait for all writes. */
function openOurLoop(pool: LockstepPool, way: 'session' | 'pool'): OpenLoop {
  return {
    loop: async (id, value, note) => {
      const queries: Queryable = way === 'session' ? pool.session() : pool;
      await queries.query(WRITE, [id, value]);
      for (let read = 0; read < READS_PER_WRITE; read += 1) note(await queries.query<ReadRow>(READ, [id]));
    },
    end: () => pool.end(),
  };
}

function openPlainLoop(target: Target, way: 'blind' | 'ask'): OpenLoop {
  const [leader, ...followers] = target.hosts.map((host) => openPlain(target, host)) as [
    pg.Pool,
    ...pg.Pool[],
  ];
  let turn = 0;
  const nextFollower = (): pg.Pool => {
    turn = (turn + 1) % followers.length;
    return followers[turn] ?? leader;
  };
  const loop: Loop = async (id, value, note) => {
    await leader.query(WRITE, [id, value]);
    const written = way === 'ask' ? await leader.query<{ lsn: string }>(ASK_WRITTEN) : null;
    const lsn = written?.rows[0]?.lsn;
    for (let read = 0; read < READS_PER_WRITE; read += 1) {
      const follower = nextFollower();
      const isThere = lsn === undefined || (await askReplayed(follower, lsn));
      note(await (isThere ? follower : leader).query<ReadRow>(READ, [id]));
    }
  };
  return { loop, end: () => Promise.all([leader, ...followers].map((pool) => pool.end())) };
}

const ASK_WRITTEN = 'SELECT pg_current_wal_flush_lsn() AS lsn';

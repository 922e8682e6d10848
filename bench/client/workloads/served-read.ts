import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { ITEM_COUNT } from '../servers.ts';
import { openLockstep, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

export interface ServedReadOptions {
  readonly target: Target;
  /** What bounds a server: its CPU time, or one query at a time of fixed length. */
  readonly bound: 'cpu' | 'service-time';
}

const ROWS_A_READ = 2_000;
const CPU_READ = `SELECT inet_server_port() AS port, sum(price) FROM item WHERE id BETWEEN $1 AND $1 + ${ROWS_A_READ - 1}`;
const SERVICE_READ = 'SELECT inet_server_port() AS port, service FROM served';

/** Reads that cost the server far more than the client; the server that answers tells which one it is. */
export async function createWorkload({ target, bound }: ServedReadOptions): Promise<Workload> {
  const pool = openLockstep(target);
  const nextId = scatteredIds(ITEM_COUNT - ROWS_A_READ);
  const leaderPort = target.hosts[0]?.port;
  let followerReads = 0;
  const read = async (): Promise<void> => {
    const { rows } = await (bound === 'cpu'
      ? pool.query<{ port: number }>(CPU_READ, [nextId()])
      : pool.query<{ port: number }>(SERVICE_READ));
    if (rows[0]?.port !== leaderPort) followerReads += 1;
  };
  await read();
  return {
    round: (durationMs) => {
      followerReads = 0;
      return runClosedLoop(target.connections, durationMs, read, () => ({ followerReads }));
    },
    end: () => pool.end(),
  };
}

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
const CPU_READ = `SELECT count(*), sum(price) FROM item WHERE id BETWEEN $1 AND $1 + ${ROWS_A_READ - 1}`;
const SERVICE_READ = 'SELECT service FROM served';

/** Reads that cost the server far more than the client. */
export async function createWorkload({ target, bound }: ServedReadOptions): Promise<Workload> {
  const pool = openLockstep(target);
  const nextId = scatteredIds(ITEM_COUNT - ROWS_A_READ);
  const read = bound === 'cpu' ? () => pool.query(CPU_READ, [nextId()]) : () => pool.query(SERVICE_READ);
  await read();
  return {
    round: (durationMs) => runClosedLoop(target.connections, durationMs, read),
    end: () => pool.end(),
  };
}

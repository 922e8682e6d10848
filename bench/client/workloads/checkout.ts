import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { openPool } from './target.ts';
import type { Target } from './target.ts';

/** A client taken from the pool, one read on it, and given back, as ORMs do for every query. */
export async function createWorkload({ target }: { readonly target: Target }): Promise<Workload> {
  const pool = openPool(target);
  const cycle = async (): Promise<void> => {
    const client = await pool.connect();
    try {
      await client.query('SELECT id, name, price, v FROM item WHERE id = $1', [1]);
    } finally {
      client.release();
    }
  };
  await cycle();
  return {
    round: (durationMs) => runClosedLoop(target.connections, durationMs, cycle),
    end: () => pool.end(),
  };
}

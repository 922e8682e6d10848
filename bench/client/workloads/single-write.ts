import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { ITEM_COUNT } from '../servers.ts';
import { openPool, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

/** One row changed by its primary key in a transaction of its own. */
export async function createWorkload({ target }: { readonly target: Target }): Promise<Workload> {
  const pool = openPool(target);
  const nextId = scatteredIds(ITEM_COUNT);
  const write = (): Promise<unknown> =>
    pool.query('UPDATE item SET price = price + $2 WHERE id = $1', [nextId(), 1]);
  await write();
  return {
    round: (durationMs) => runClosedLoop(target.connections, durationMs, write),
    end: () => pool.end(),
  };
}

import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { openLockstep, openPlain, scatteredIds } from './target.ts';
import type { Target } from './target.ts';
import { ITEM_COUNT } from '../servers.ts';

const READ = 'SELECT id, name, price, v FROM item WHERE id = $1';

/** A read in a session that has written, where there is only the leader; plain for a pool without sessions. */
export async function createWorkload({ target }: { readonly target: Target }): Promise<Workload> {
  const nextId = scatteredIds(ITEM_COUNT);
  if (target.pool === 'pg') {
    const pool = openPlain(target);
    return {
      round: (durationMs) =>
        runClosedLoop(target.connections, durationMs, () => pool.query(READ, [nextId()])),
      end: () => pool.end(),
    };
  }
  const pool = openLockstep(target);
  const session = pool.session();
  await session.query('UPDATE item SET price = price WHERE id = 1');
  return {
    round: (durationMs) =>
      runClosedLoop(target.connections, durationMs, () => session.query(READ, [nextId()])),
    end: () => pool.end(),
  };
}

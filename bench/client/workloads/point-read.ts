import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { ITEM_COUNT } from '../servers.ts';
import { openPool, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

export interface PointReadOptions {
  readonly target: Target;
  readonly isPrepared?: boolean;
}

const TEXT = 'SELECT id, name, price, v FROM item WHERE id = $1';

/** One row of about 100 bytes by its primary key, with as many callers as connections. */
export async function createWorkload({ target, isPrepared = false }: PointReadOptions): Promise<Workload> {
  const pool = openPool(target);
  const nextId = scatteredIds(ITEM_COUNT);
  const read = isPrepared
    ? (): Promise<unknown> => pool.query({ name: 'item by id', text: TEXT, values: [nextId()] })
    : (): Promise<unknown> => pool.query(TEXT, [nextId()]);
  await read();
  return {
    round: (durationMs) => runClosedLoop(target.connections, durationMs, read),
    end: () => pool.end(),
  };
}

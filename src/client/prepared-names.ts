import type { WireConnection } from './batch.ts';

/** Statements that a connection keeps prepared under names of the pool's; the least recently used go first. */
const MAX_PREPARED = 200;

const namesOf = new WeakMap<WireConnection, Set<string>>();

/**
 * Notes that a connection is about to use this name, and closes the least recently used one when there are
 * too many.
 */
export function usePreparedName(connection: WireConnection, name: string): void {
  let names = namesOf.get(connection);
  if (names === undefined) {
    names = new Set();
    namesOf.set(connection, names);
  }
  // While there are few, their order does not matter.
  if (names.size > MAX_PREPARED / 2) names.delete(name);
  names.add(name);
  if (names.size > MAX_PREPARED) closeOldest(connection, names);
}

function closeOldest(connection: WireConnection, names: Set<string>): void {
  const [oldest] = names;
  if (oldest === undefined) return;
  names.delete(oldest);
  delete connection.parsedStatements[oldest];
  connection.close({ type: 'S', name: oldest });
}

/** SQLSTATE of a name that the server does not know: DEALLOCATE, DISCARD, or a proxy in between. */
export const UNKNOWN_NAME: string = '26000';
const NAME_IN_USE = '42P05';
const FEATURE_NOT_SUPPORTED = '0A000';

/**
 * Whether a statement that was prepared earlier failed in a way in which a new one may not: its name is gone,
 * its result has changed with its tables, or its parameters have the types of before. Source: PostgreSQL,
 * `RevalidateCachedQuery` in plancache.c.
 */
export function isStalePlan(error: Error): boolean {
  const { code, routine } = error as { code?: string; routine?: string };
  if (code === FEATURE_NOT_SUPPORTED) return routine === 'RevalidateCachedQuery';
  if (code === undefined || code === NAME_IN_USE) return code === NAME_IN_USE;
  return code === UNKNOWN_NAME || code.startsWith('42') || code === '22P02' || code === '22P03';
}

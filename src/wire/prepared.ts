import type { WireConnection } from './batch.ts';

/** Each costs memory here and far more in its server process, and pg keeps all for as long as the connection. */
const MAX_PREPARED = 500;

/** Closed at once, so that what is used in turn is not prepared anew each time. */
const CLOSED_AT_ONCE = 250;

/** What the server may still have under a name that is to be prepared anew. */
const outdated = new WeakMap<WireConnection, Set<string>>();

/** Where the statements that were prepared on a connection are counted. */
export interface PreparedCount {
  preparedCount: number;
}

/**
 * Makes room for one more named statement. The oldest are closed; who uses one of them again prepares it
 * again. Called when nothing else is under way on the connection: a failure in front of Close would make
 * the server skip it. Returns whether this one is prepared already.
 */
export function makeRoomToPrepare(counted: PreparedCount, connection: WireConnection, name: string): boolean {
  const { parsedStatements, submittedNamedStatements } = connection;
  if (parsedStatements[name] !== undefined) return true;
  if (outdated.get(connection)?.delete(name) === true) connection.close({ type: 'S', name });
  counted.preparedCount += 1;
  if (counted.preparedCount <= MAX_PREPARED) return false;
  const known = Object.keys(parsedStatements);
  // Others may have been closed in the meantime, which the count does not know.
  const surplus = known.length < MAX_PREPARED ? [] : known.slice(0, CLOSED_AT_ONCE);
  for (const oldest of surplus) {
    connection.close({ type: 'S', name: oldest });
    delete parsedStatements[oldest];
    delete submittedNamedStatements[oldest];
  }
  counted.preparedCount = known.length - surplus.length + 1;
  return false;
}

/** What was prepared under `name` is gone or no longer fits: its next use prepares it again. */
export function prepareAnew(connection: WireConnection, name: string): void {
  delete connection.parsedStatements[name];
  const names = outdated.get(connection) ?? new Set();
  outdated.set(connection, names.add(name));
}

/** Follows a command that ended every statement of its connection. */
export function noticeDeallocation(
  counted: PreparedCount,
  connection: WireConnection,
  command: string,
): void {
  if (command !== 'DISCARD ALL' && command !== 'DEALLOCATE ALL') return;
  for (const name of Object.keys(connection.parsedStatements)) delete connection.parsedStatements[name];
  counted.preparedCount = 0;
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

import type { WireConnection } from './batch.ts';

/** Each costs memory here and far more in its server process, and pg keeps all for as long as the connection. */
const MAX_PREPARED = 1000;

/** Closed at once, so that what is used in turn is not prepared anew each time. */
const CLOSED_AT_ONCE = 500;

/** Where the statements that were prepared on a connection are counted. */
export interface PreparedCount {
  preparedCount: number;
}

/**
 * Makes room for one more named statement. The oldest are closed; who uses one of them again prepares it
 * again. Called when nothing else is under way on the connection: a failure in front of Close would make
 * the server skip it.
 */
export function makeRoomToPrepare(counted: PreparedCount, connection: WireConnection, name: string): void {
  const { parsedStatements, submittedNamedStatements } = connection;
  if (parsedStatements[name] !== undefined) return;
  counted.preparedCount += 1;
  if (counted.preparedCount <= MAX_PREPARED) return;
  const known = Object.keys(parsedStatements);
  // Others may have been closed in the meantime, which the count does not know.
  const surplus = known.length < MAX_PREPARED ? [] : known.slice(0, CLOSED_AT_ONCE);
  for (const oldest of surplus) {
    connection.close({ type: 'S', name: oldest });
    delete parsedStatements[oldest];
    delete submittedNamedStatements[oldest];
  }
  counted.preparedCount = known.length - surplus.length + 1;
}

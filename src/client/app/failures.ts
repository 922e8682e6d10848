import { fromHook, isFromHook, toError } from '../../wire/hook-errors.ts';
import { codeOf, LockstepError } from '../../model/errors.ts';

const OWN_TIMEOUTS = ['Query read timeout', 'timeout exceeded when trying to connect'];

/**
 * Whether trying again is not ours to decide: the app's own limits on time, also for a read that could run
 * again, and what its `onConnect` or `verify` threw.
 */
export function isAppsOwn(error: Error): boolean {
  return OWN_TIMEOUTS.includes(error.message) || isFromHook(error);
}

/**
 * As pg does: what came with a packet leads to the call that it answers, instead of to the socket. What the
 * app's own code threw keeps its place.
 */
export function withCallersFrame<T>(answer: Promise<T>): Promise<T> {
  return answer.catch(showCaller);
}

function showCaller(error: unknown): never {
  if (error instanceof Error && !isFromHook(error)) Error.captureStackTrace(error, showCaller);
  throw error;
}

/** pg's own; no other server would answer a client that has ended. */
export function clientClosed(): Error {
  return fromHook(new Error('Client was closed and is not queryable'));
}

/** The write may or may not be applied: its connection broke before the answer. */
export function commitUnknown(node: string, cause: Error): LockstepError {
  return new LockstepError(
    'COMMIT_UNKNOWN',
    `The connection to leader ${node} broke while a write was in flight, so it may or may not be applied; read back before trying again.`,
    { outcome: 'unknown', details: { node }, cause },
  );
}

/** What NO_LEADER tells of a cluster in which nobody could take a statement. */
export interface NobodyToTake {
  readonly reason: string;
  readonly waitedMs: number;
  /** Why each server could not be used. */
  readonly nodes: Readonly<Record<string, string>>;
  /** What the first try met, or a server that cannot be asked. */
  readonly cause: Error | null;
}

export function noLeader({ reason, waitedMs, nodes, cause }: NobodyToTake): LockstepError {
  const why = cause === null || cause.message === reason ? reason : `${reason}; ${describeCause(cause)}`;
  return new LockstepError(
    'NO_LEADER',
    `No server could take the statement within ${Math.round(waitedMs)} ms (${why}); nothing was applied, try again when the cluster has a leader.`,
    { retryable: true, details: { nodes }, ...(cause === null ? {} : { cause }) },
  );
}

/** No server of the list has ever answered this pool: more likely a wrong address than an outage. */
export function nobodyReached({ waitedMs, nodes, cause }: NobodyToTake): LockstepError {
  const servers = Object.keys(nodes).length;
  return new LockstepError(
    'NO_LEADER',
    `Check the addresses and that the servers run: none of ${servers} could be reached in ${Math.round(waitedMs)} ms (${cause === null ? 'no answer' : describeCause(cause)}); nothing was applied.`,
    { retryable: true, details: { nodes }, ...(cause === null ? {} : { cause }) },
  );
}

/** Node's errors for several addresses of one name have no message of their own. */
function describeCause(cause: Error): string {
  const code = codeOf(cause);
  if (cause.message === '') return code || cause.name;
  return code === '' || cause.message.includes(code) ? cause.message : `${code}: ${cause.message}`;
}

/** pg-pool's own, by the words that libraries look for. */
export function connectTimeout(cause?: unknown): Error {
  return new Error('timeout exceeded when trying to connect', { cause });
}

/** Turned away at once: whoever waits behind so many others would hardly be served in time. */
export function poolSaturated(waiting: number, awaited: 'a connection' | 'a leader'): LockstepError {
  return new LockstepError(
    'POOL_SATURATED',
    `${waiting} statements wait for ${awaited} already, as many as "maxWaiting" allows; the statement was not sent, so try again later or raise "max".`,
    { retryable: true, details: { waiting, awaited } },
  );
}

/** Sent all the same, it would have no effect on the statements around it, which commit one by one. */
export function aloneInTransaction(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'Use pool.transaction(), or a client of pool.connect(): what begins or ends a transaction has no effect on other calls of query(), which may run on any connection; it was not sent.',
  );
}

/** Sent all the same, nobody would hear of what comes: the connection is closed with what was set in it. */
export function listensAlone(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'Use pool.listen(channel, handler), which follows the leader, or a client of pool.connect(): one call of query() listens on a connection that nobody hears; it was not sent.',
  );
}

/** Of a text with several statements: those behind the last COMMIT in it were not applied, those before it were. */
export function transactionLeftOpen(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'End the transaction in the same text, or use pool.transaction(): the text left one open, and what it did is rolled back.',
    { outcome: 'unknown' },
  );
}

/** The server rolls a transaction back when its connection ends before COMMIT. */
export function transactionLost(node: string, cause: unknown): LockstepError {
  return new LockstepError(
    'NOT_LEADER',
    `The connection to leader ${node} broke before COMMIT was sent, so the transaction is rolled back; run it again.`,
    { retryable: true, details: { node }, cause: toError(cause) },
  );
}

/** What the app had put into the connection (SET, LISTEN, a temporary table) is gone with it. */
export function stateLost(cause: Error): LockstepError {
  return new LockstepError(
    'NOT_LEADER',
    "The connection that held this client's settings broke, and they are lost; release the client and connect again.",
    { retryable: true, cause },
  );
}

/** The statement was not sent; sessions go on with the new history. `isCertain`: it is gone, not only maybe. */
export function writeLost(
  write: string,
  fork: { readonly timeline: number; readonly forkedAt: string | null },
  isCertain: boolean,
): LockstepError {
  const what = isCertain ? 'is lost' : 'may be lost';
  const where = fork.forkedAt === null ? '' : `, which began at ${fork.forkedAt}`;
  return new LockstepError(
    'WRITE_LOST',
    `A write of this session up to ${write}, acknowledged without waiting for a follower, ${what}: the leader failed, and history went on with timeline ${fork.timeline}${where}; read back what the session wrote, then go on with it.`,
    { details: { write, ...fork, isCertain } },
  );
}

/** The commit is on the leader's disk, but no follower has confirmed it; others see it when its wait ends. */
export function durabilityTimeout(
  node: string,
  cause: 'limit' | 'cancelled',
  limitMs: number,
): LockstepError {
  const why = cause === 'limit' ? `for ${limitMs} ms` : 'and the server gave up the wait';
  return new LockstepError(
    'DURABILITY_TIMEOUT',
    `The commit is applied on leader ${node}, but no follower confirmed it ${why}; it would be lost with the leader, so check the followers before relying on it.`,
    { outcome: 'applied', details: { node, cause } },
  );
}

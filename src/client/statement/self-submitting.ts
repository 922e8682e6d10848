import type { PoolClient, QueryResult, Submittable } from 'pg';
import type { LeaseSource } from '../cluster/lease-source.ts';
import { learnFromSubmitted } from '../session/leader-answers.ts';
import type { SessionState } from '../session/session-state.ts';
import { refuseAlone } from './alone.ts';
import { textOfSubmitted } from './queryable.ts';
import type { StatementRunner } from './runner.ts';

/**
 * Hands a leader's connection to a query object that sends itself, like a cursor. As in pg-pool, the promise
 * settles when the object calls its callback.
 */
export async function submitOnLeader(
  runner: StatementRunner,
  source: LeaseSource,
  current: SessionState | null,
  query: Submittable,
): Promise<QueryResult> {
  const { monitor, limits, clock, classifier } = runner.parts;
  const text = textOfSubmitted(query);
  const said = text === null ? null : classifier.classify(text);
  if (said !== null) refuseAlone(said);
  const deadlineMs = clock.nowMs() + limits.failoverTimeoutMs;
  const session = runner.mayWriteItself(query) ? current : null;
  const lease = await runner.finder.acquireLeader(source, null, deadlineMs);
  return new Promise((resolve, reject) => {
    let isDone = false;
    const done = (error: Error | null, result?: QueryResult): void => {
      if (isDone) return;
      isDone = true;
      lease.client.removeListener('end', lost);
      if (session !== null) learnFromSubmitted(session, monitor);
      const leavesState = said?.kind === 'session' || lease.client.getTransactionStatus() !== 'I';
      source.release(lease, error ?? undefined, leavesState);
      if (error) reject(error);
      else resolve(result as QueryResult);
    };
    // A cursor calls no callback, also when its connection ends.
    const lost = (): void => done(new Error('Connection terminated unexpectedly'));
    lease.client.once('end', lost);
    const submit = lease.client.query as (
      this: PoolClient,
      query: Submittable,
      callback: typeof done,
    ) => void;
    submit.call(lease.client, query, done);
  });
}

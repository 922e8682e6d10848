import { codeOf } from '../../model/errors.ts';
import { fingerprint } from './core/fingerprint.ts';
import type { ExchangeObserver, ExchangePlan } from '../../wire/contract.ts';
import { serverAttributes } from '../app/meter.ts';
import type { Meter } from '../app/meter.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';

/** Takes lines for people and, beside each, the same as an object: pg-pool's `log`. */
export type Log = (message: string, ...details: unknown[]) => void;

/** What a line of the log says beside its text. It never holds a parameter, a literal or a server's message. */
export interface StatementLogEntry {
  readonly event: 'statement';
  /** The text without literals and comments; of several sent together, all of them. */
  readonly statement: string;
  readonly node: string;
  readonly role: 'leader' | 'follower';
  /** Why it went there. */
  readonly reason: string;
  readonly ms: number;
  /** SQLSTATE or Node's code of what failed; null when nothing did. */
  readonly error: string | null;
}

export interface ObserverTargets {
  readonly log: Log | null;
  readonly meter: Meter | null;
  readonly database: string;
}

/** The bounds that the semantic conventions recommend, in seconds. */
const BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/** Null where nobody wants to know, so that a statement pays nothing. */
export function createExchangeObserver(
  { log, meter, database }: ObserverTargets,
  monitorOf: () => Pick<TopologyMonitor, 'nameOf' | 'leadership'>,
): ExchangeObserver | null {
  if (log === null && meter === null) return null;
  const durations = meter?.createHistogram('db.client.operation.duration', {
    description: 'Duration of database client operations',
    unit: 's',
    advice: { explicitBucketBoundaries: BUCKETS },
  });
  return {
    exchanged(node, plan, report, tookMs): void {
      const monitor = monitorOf();
      const role = monitor.leadership.leader === node ? 'leader' : 'follower';
      const error = report.error === null ? null : codeOf(report.error) || 'unknown';
      try {
        durations?.record(tookMs / 1000, {
          'db.system.name': 'postgresql',
          'db.namespace': database,
          'db.operation.name': operationOf(plan),
          ...serverAttributes(node),
          'lockstep.node.role': role,
          ...(error === null ? {} : { 'error.type': error, 'db.response.status_code': error }),
        });
        if (log === null) return;
        const name = monitor.nameOf(node);
        const statement = describeStatements(plan);
        const reason = plan.reason ?? 'its connection is held';
        const ms = Math.round(tookMs * 1000) / 1000;
        const entry: StatementLogEntry = {
          event: 'statement',
          statement,
          node: name,
          role,
          reason,
          ms,
          error,
        };
        const outcome = error === null ? '' : `, failed with ${error}`;
        log(`${role} ${name}, ${ms.toFixed(1)} ms${outcome}: ${statement} (${reason})`, entry);
      } catch (thrown) {
        // The app's own log or meter failed; the statement has not, and its connection must go on.
        queueMicrotask(() => {
          throw thrown;
        });
      }
    },
  };
}

/** Of a flight that only begins or ends a transaction, those words. */
function describeStatements({ statements, before = [], after = [] }: ExchangePlan): string {
  if (statements.length > 0) return statements.map(({ text }) => fingerprint(text)).join('; ');
  const words = [...before, ...after].map(({ text }) => text.slice(0, text.search(/\W|$/)));
  // What the client asks along is no statement of the app's.
  const ofTransaction = words.filter((word) => word !== 'SELECT');
  return (ofTransaction.length > 0 ? ofTransaction : words).join('; ');
}

/** Few and known words only: each makes a series of its own. */
const OPERATIONS = new Set(
  `SELECT INSERT UPDATE DELETE MERGE WITH VALUES TABLE BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE CALL COPY
   CREATE ALTER DROP TRUNCATE SET SHOW EXPLAIN ANALYZE VACUUM DO LISTEN NOTIFY FETCH`.split(/\s+/),
);

function operationOf({ statements, after = [] }: ExchangePlan): string {
  if (statements.length > 1) return 'BATCH';
  const text = statements[0]?.text ?? (after.some((own) => own.text === 'COMMIT') ? 'COMMIT' : 'BEGIN');
  const word = /^\s*([A-Za-z]+)/.exec(text)?.[1]?.toUpperCase() ?? '';
  return OPERATIONS.has(word) ? word : 'OTHER';
}

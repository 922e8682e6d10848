import { PlainStatement } from '../../wire/plain-statement.ts';
import type { WireStatement } from '../../wire/contract.ts';
import type { QueryArrayConfig, QueryArrayResult, QueryConfig, QueryResult, QueryResultRow } from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { isStaleness } from '../app/checks.ts';
import { nearestName } from '../../model/nearest-name.ts';
import { unknownName } from '../app/unknown-name.ts';
import type { CommitWait } from './durability.ts';

/** What a single statement's config may carry besides pg's own. */
export interface StatementOptions extends CommitWait {
  /** Makes it apply at most once: see {@link TransactionOptions.idempotencyKey}. Not inside of a transaction. */
  readonly idempotencyKey?: string | undefined;
  /**
   * A read misses nothing that was committed longer ago than this when it was sent: it goes to followers that
   * are known to be that fresh, else to the leader. Followers are judged by probes, so that less than twice
   * `probeIntervalMs` leaves few of them.
   */
  readonly maxStalenessMs?: number | undefined;
}

const OWN_NAMES: readonly (keyof StatementOptions)[] = [
  'durability',
  'durabilityTimeoutMs',
  'idempotencyKey',
  'maxStalenessMs',
];

/** pg takes others too, and so may libraries that wrap it: those are let through. */
const KNOWN_NAMES = new Set<string>([...OWN_NAMES, 'text', 'values', 'name', 'rowMode', 'types', 'callback']);

/** What of a config is a misspelt option of ours, which would be left out without a word; undefined when none is. */
function misspeltName(config: object): string | undefined {
  return Object.keys(config).find(
    (name) => !KNOWN_NAMES.has(name) && nearestName(name, OWN_NAMES) !== undefined,
  );
}

/** Throws CONFIG_INVALID for a config with a misspelt option. */
export function refuseMisspelt(config: object): void {
  const name = misspeltName(config);
  if (name !== undefined) throw unknownName('option of a query', name, OWN_NAMES);
}

/** Throws CONFIG_INVALID for options beside the text and its values, where they would be left out without a word. */
export function refuseOptionsBeside(given: unknown): void {
  if (typeof given !== 'object' || given === null) return;
  const name = Object.keys(given).find((key) => nearestName(key, OWN_NAMES) !== undefined);
  if (name === undefined) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Give "${name}" in one object with the text: query({ text, values, ${name} }).`,
    { details: { name } },
  );
}

/** What an app passes to `query` as a config. */
export interface StatementConfig extends WireStatement, StatementOptions {}

/**
 * Whether the config carries StatementOptions, or what is misspelt of them, that matter also with one server, which
 * is never stale: there `maxStalenessMs` only has to be one.
 */
export function hasStatementOptions(config: unknown): boolean {
  if (typeof config !== 'object' || config === null) return false;
  if ('durability' in config || 'durabilityTimeoutMs' in config || 'idempotencyKey' in config) return true;
  if ('maxStalenessMs' in config && !isStaleness((config as StatementOptions).maxStalenessMs)) return true;
  return !isSelfSubmitting(config) && misspeltName(config) !== undefined;
}

/** Runs SQL and answers with pg's results. `Extra` is what a config may carry beyond pg's. */
export interface Queryable<Extra = StatementOptions> {
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's own signature, so that code written for pg compiles
  query<R extends any[] = any[]>(
    config: QueryArrayConfig & Extra,
    values?: unknown[],
  ): Promise<QueryArrayResult<R>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  query<R extends QueryResultRow = any>(
    textOrConfig: string | (QueryConfig & Extra),
    values?: unknown[],
  ): Promise<QueryResult<R>>;
}

/** What pg's `query` takes: text, or a config; values beside it win over those inside. */
export function readStatement(textOrConfig: unknown, values: unknown): StatementConfig {
  if (typeof textOrConfig === 'string')
    return new PlainStatement(
      textOrConfig,
      (values ?? undefined) as unknown[] | undefined,
    ) as StatementConfig;
  if (textOrConfig == null || typeof textOrConfig !== 'object') {
    throw new TypeError('Client was passed a null or undefined query');
  }
  const config = textOrConfig as StatementConfig;
  if (typeof config.text !== 'string') {
    throw new LockstepError(
      'CONFIG_INVALID',
      'A query needs its text also when it is prepared under a name, since the text decides where it may run.',
    );
  }
  refuseMisspelt(config);
  return values == null ? config : { ...config, values: values as unknown[] };
}

/** A call of `query` in pg's forms: text, values and callback, or a config that may hold the callback. */
export interface QueryCall {
  readonly statement: StatementConfig;
  readonly callback: ((error: Error | undefined, result?: unknown) => void) | undefined;
}

export function readCall(
  textOrConfig: unknown,
  valuesOrCallback: unknown,
  maybeCallback: unknown,
): QueryCall {
  refuseOptionsBeside(maybeCallback);
  const values = typeof valuesOrCallback === 'function' ? undefined : valuesOrCallback;
  const statement = readStatement(textOrConfig, values);
  const beside = [maybeCallback, valuesOrCallback].find((value) => typeof value === 'function');
  return {
    statement,
    callback: (beside ?? (statement as { callback?: unknown }).callback) as QueryCall['callback'],
  };
}

/** A statement inside a transaction or on a client cannot have an outcome of its own. */
export function keyRefused(): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'An idempotencyKey belongs to pool.query, session.query or transaction(), not to a statement inside of a transaction or on a client.',
  );
}

/** A query object that sends itself: pg's Query, pg-cursor, pg-query-stream. */
export interface SelfSubmitting {
  submit(connection: unknown): unknown;
  callback?: unknown;
}

export function isSelfSubmitting(query: unknown): query is SelfSubmitting {
  return (
    typeof query === 'object' && query !== null && 'submit' in query && typeof query.submit === 'function'
  );
}

/** The text that such an object will send; null when it does not tell. */
export function textOfSubmitted(query: object): string | null {
  const { text, cursor } = query as { text?: unknown; cursor?: { text?: unknown } };
  const found = text ?? cursor?.text;
  return typeof found === 'string' ? found : null;
}

/** pg also accepts a callback inside the config. */
export function callbackOf(config: unknown): unknown {
  return typeof config === 'object' && config !== null && !isSelfSubmitting(config) && 'callback' in config
    ? config.callback
    : undefined;
}

/** Tells an answer to a callback in Node's manner. What the callback throws is an uncaught exception, as in pg. */
export function settleCallback<T>(
  answer: Promise<T>,
  callback: (error: Error | undefined, result?: T) => void,
): void {
  answer.then(
    (result) => process.nextTick(callback, undefined, result),
    (error: Error) => process.nextTick(callback, error),
  );
}

/** Tells a query object that it will not run. */
export function failSubmitted(
  query: SelfSubmitting,
  callback: ((error: Error) => void) | undefined,
  error: Error,
): void {
  if (callback !== undefined) return callback(error);
  const { handleError } = query as { handleError?: (error: Error) => void };
  handleError?.call(query, error);
}

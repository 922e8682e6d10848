import { randomUUID } from 'node:crypto';
import type { QueryResult } from 'pg';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import type { OwnStatement } from '../../wire/batch.ts';
import { AttemptLedger, checkIdempotencyKey, decideKeyed, encodeResult, isSweepDue } from './core/outcome.ts';
import type { AttemptFailure, Claim } from './core/outcome.ts';
import { codeOf } from '../../model/errors.ts';

/** Runs a text of one or several statements on the leader, outside of any transaction; answers the rows it changed. */
export type RunOnLeader = (text: string) => Promise<number>;

/** Name of the statement whose row {@link KeyedCall.readClaim} reads. */
export const CLAIM: string = 'lockstep_claim';

/**
 * A second writer of a key waits for the first one's transaction, and the update makes a repeat a write:
 * its commit waits for followers as the first one's did, and so for all that came before.
 */
const CLAIM_SQL = `INSERT INTO lockstep.outcome AS o (key, attempt) VALUES ($1, $2)
 ON CONFLICT (key) DO UPDATE SET repeats = o.repeats + 1 RETURNING o.attempt, o.result`;

const KEEP_RESULT_SQL = 'UPDATE lockstep.outcome SET result = $2::pg_catalog.json WHERE key = $1';

const LIMIT_WAIT_SQL = `SELECT pg_catalog.set_config('lock_timeout', $1, true)`;

const UNLIMIT_WAIT_SQL = 'SET LOCAL lock_timeout TO DEFAULT';

/** The same as in docs/client.md. Several pools may create it at once, hence the lock. */
const CREATE_TABLE_SQL = `DO $$ BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('lockstep.outcome', 0));
  IF pg_catalog.to_regclass('lockstep.outcome') IS NULL THEN
    IF pg_catalog.to_regnamespace('lockstep') IS NULL THEN CREATE SCHEMA lockstep; END IF;
    CREATE TABLE lockstep.outcome (
      key text PRIMARY KEY,
      attempt text NOT NULL,
      result json,
      repeats int NOT NULL DEFAULT 0,
      created_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX outcome_created_at ON lockstep.outcome USING brin (created_at);
  END IF;
  -- A trigger of whoever owns it would run as this role.
  IF EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (VALUES (c.relowner), (n.nspowner)) AS of(owner)
    JOIN pg_catalog.pg_roles AS r ON r.oid = of.owner
    JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
    WHERE n.nspname = 'lockstep' AND c.relname = 'outcome' AND NOT r.rolsuper
      AND r.oid NOT IN (d.datdba, 'pg_database_owner'::pg_catalog.regrole::pg_catalog.oid)
      AND r.rolname <> CURRENT_USER)
  THEN RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
    MESSAGE = 'schema or table lockstep.outcome belongs to another role';
  END IF;
END $$`;

const SWEEP_BATCH = 1000;

/** No key may be forgotten while a call is still in doubt about it. */
const LEAST_RETENTION_MS = 60_000;

function sweepSql(retentionMs: number): string {
  return `DELETE FROM lockstep.outcome WHERE key = ANY (ARRAY(SELECT key FROM lockstep.outcome
 WHERE created_at < now() - ${Math.round(retentionMs)} * interval '1 millisecond' LIMIT ${SWEEP_BATCH}))`;
}

const UNDEFINED_TABLE = '42P01';
const INVALID_SCHEMA = '3F000';
const INSUFFICIENT_PRIVILEGE = '42501';
const LOCK_NOT_AVAILABLE = '55P03';
/** Of a schema and of a table. */
const ALREADY_THERE = ['42P06', '42P07'];

/** The table `lockstep.outcome`: created where it is missing, and kept small. */
export class OutcomeTable {
  readonly #retentionMs: number;
  readonly #runOnLeader: RunOnLeader;
  readonly #prefix = randomUUID();
  readonly clock: Clock;
  #attempts = 0;
  #isTrusted = false;
  #lastSweepMs: number;

  constructor(retentionMs: number, clock: Clock, runOnLeader: RunOnLeader) {
    this.clock = clock;
    this.#lastSweepMs = clock.nowMs();
    this.#retentionMs = retentionMs === 0 ? 0 : Math.max(retentionMs, LEAST_RETENTION_MS);
    this.#runOnLeader = runOnLeader;
  }

  /** Throws CONFIG_INVALID for a key that cannot be stored. */
  call(key: unknown, patienceMs: number): KeyedCall {
    return new KeyedCall(this, checkIdempotencyKey(key), patienceMs);
  }

  newAttempt(): string {
    this.#attempts += 1;
    return `${this.#prefix}/${this.#attempts}`;
  }

  /** Before this pool's first claim: what another role has made would run that role's code. Throws as `create()`. */
  async trust(): Promise<void> {
    // One that appeared while it was being created has not been looked at yet.
    for (let look = 0; look < 2 && !this.#isTrusted; look += 1) await this.create();
  }

  /** Throws CONFIG_INVALID when the role may not create it, and when another role owns it. */
  async create(): Promise<void> {
    try {
      await this.#runOnLeader(CREATE_TABLE_SQL);
      this.#isTrusted = true;
    } catch (error) {
      if (codeOf(error) === INSUFFICIENT_PRIVILEGE) throw tableRefused(error);
      // Another pool has just created it: a server process that waited for the lock may still remember that
      // there was none.
      if (ALREADY_THERE.includes(codeOf(error))) return;
      // Whether it exists after a lost answer is seen by the next claim.
      if (!(error instanceof LockstepError) || error.outcome !== 'unknown') throw error;
    }
  }

  /** Deletes outcomes past their retention, now and then, in the background. */
  sweepWhenDue(): void {
    const nowMs = this.clock.nowMs();
    if (!isSweepDue(nowMs, this.#lastSweepMs, this.#retentionMs)) return;
    this.#lastSweepMs = nowMs;
    // What cannot be deleted now will be at the next sweep; nothing depends on it.
    void this.sweep().catch(() => undefined);
  }

  /** Deletes all outcomes past their retention, a batch at a time. */
  async sweep(): Promise<void> {
    while ((await this.#runOnLeader(sweepSql(this.#retentionMs))) === SWEEP_BATCH);
  }
}

/** One call with an `idempotencyKey`, over all its attempts. */
export class KeyedCall {
  readonly #table: OutcomeTable;
  readonly #key: string;
  readonly #patienceMs: number;
  readonly #ledger = new AttemptLedger();
  #attempt = '';
  #isClaimed = false;
  #value: unknown;
  #deadlineMs: number;
  #doubt: unknown = null;
  #lostAnswers = 0;

  /** From `table.call()`. In doubt, attempts go on for `patienceMs` after the first answer was lost. */
  constructor(table: OutcomeTable, key: string, patienceMs: number) {
    this.#table = table;
    this.#key = key;
    this.#patienceMs = patienceMs;
    this.#deadlineMs = table.clock.nowMs() + patienceMs;
  }

  /** When the call stops trying again: later once it is in doubt, since that may come at the end of a long function. */
  get deadlineMs(): number {
    return this.#deadlineMs;
  }

  /** How many answers to COMMIT were lost. */
  get lostAnswers(): number {
    return this.#lostAnswers;
  }

  /** What a new attempt sends behind BEGIN, in the same flight. */
  claimStatements(): readonly OwnStatement[] {
    this.#attempt = this.#table.newAttempt();
    this.#isClaimed = false;
    this.#value = undefined;
    const claim = { name: CLAIM, text: CLAIM_SQL, values: [this.#key, this.#attempt] };
    if (!this.#ledger.isInDoubt) return [claim];
    // The open attempt may hold the key in a server process that is stuck.
    const leftMs = Math.max(1, Math.ceil(this.#deadlineMs - this.#table.clock.nowMs()));
    return [
      { name: 'lockstep_claim_wait', text: LIMIT_WAIT_SQL, values: [`${leftMs}ms`] },
      claim,
      { name: 'lockstep_claim_waited', text: UNLIMIT_WAIT_SQL, values: [] },
    ];
  }

  /** Takes the claim's row: whether the function is to run, or the value of an attempt that is applied. */
  readClaim(row: readonly (string | null)[] | null): Claim {
    const [attempt, result = null] = row ?? [];
    if (attempt == null) throw new LockstepError('INVARIANT', 'The claim of an idempotencyKey has no row.');
    this.#isClaimed = true;
    const claim = this.#ledger.judge(this.#attempt, { attempt, result });
    if (claim.kind === 'applied') this.#value = claim.value;
    return claim;
  }

  /** What an attempt sends in front of COMMIT, in the same flight, once its function has returned `value`. */
  resultStatements(value: unknown): readonly OwnStatement[] {
    this.#value = value;
    const json = encodeResult(value);
    return json === null
      ? []
      : [{ name: 'lockstep_keep_result', text: KEEP_RESULT_SQL, values: [this.#key, json] }];
  }

  /** The attempt is applied as durably as asked. */
  finished(): void {
    this.#table.sweepWhenDue();
  }

  /**
   * Returns when another attempt is due; else throws what the caller is to see: `error` when nothing of
   * this call is applied, COMMIT_UNKNOWN when something may be.
   */
  async afterFailure(error: unknown): Promise<void> {
    const failure = this.#classify(error);
    const nowMs = this.#table.clock.nowMs();
    if (failure === 'commit-unknown' || failure === 'wait-cancelled') {
      if (!this.#ledger.isInDoubt) this.#deadlineMs = Math.max(this.#deadlineMs, nowMs + this.#patienceMs);
      this.#ledger.leaveOpen(this.#attempt, this.#value);
      this.#doubt = error;
      if (failure === 'commit-unknown') this.#lostAnswers += 1;
    }
    switch (decideKeyed(failure, this.#ledger.isInDoubt, this.#deadlineMs - nowMs)) {
      case 'again':
        return;
      case 'create-table':
        return this.#createTable();
      case 'unknown':
        throw failure === 'commit-unknown' ? error : stillUnknown(this.#doubt, error);
      case 'pass':
        throw failure === 'other' && this.#isRefused(error) ? tableRefused(error) : error;
    }
  }

  async #createTable(): Promise<void> {
    try {
      await this.#table.create();
    } catch (error) {
      throw this.#ledger.isInDoubt ? stillUnknown(this.#doubt, error) : error;
    }
  }

  #isRefused(error: unknown): boolean {
    return !this.#isClaimed && codeOf(error) === INSUFFICIENT_PRIVILEGE;
  }

  #classify(error: unknown): AttemptFailure {
    if (error instanceof LockstepError) {
      if (error.code === 'COMMIT_UNKNOWN') return 'commit-unknown';
      if (error.code === 'DURABILITY_TIMEOUT')
        return error.details['cause'] === 'cancelled' ? 'wait-cancelled' : 'wait-exceeded';
      return 'other';
    }
    if (this.#isClaimed) return 'other';
    const code = codeOf(error);
    if (code === UNDEFINED_TABLE || code === INVALID_SCHEMA) return 'table-missing';
    return code === LOCK_NOT_AVAILABLE ? 'claim-blocked' : 'other';
  }
}

/** What of pg's result is kept for a repeat, and so given to every caller; null when it was too large to keep. */
export function keepableResult(result: QueryResult | null): QueryResult {
  if (result === null) return { command: '', rowCount: null, oid: 0, fields: [], rows: [] };
  const { command, rowCount, oid, fields, rows } = result;
  return { command, rowCount, oid, fields, rows };
}

function tableRefused(cause: unknown): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    'An idempotencyKey needs the table lockstep.outcome, owned by this role, a superuser or the database\'s owner, that this role may use; let an owner run the SQL of docs/client.md, "Commit outcomes".',
    { cause },
  );
}

/** The doubt was not settled in time: `latest` says why. */
function stillUnknown(doubt: unknown, latest: unknown): LockstepError {
  const details = doubt instanceof LockstepError ? doubt.details : {};
  return new LockstepError(
    'COMMIT_UNKNOWN',
    'The answer to COMMIT was lost, and whether it is applied could not be asked in time; call again with the same idempotencyKey to find out.',
    { outcome: 'unknown', retryable: true, details, cause: latest },
  );
}

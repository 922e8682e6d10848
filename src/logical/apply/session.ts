import pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { Pipeline } from '../../wire/raw/pipeline.ts';
import type { FlightResult, PipelineStatement } from '../../wire/raw/pipeline.ts';
import { connectToLeader } from '../endpoints.ts';
import { quoteLiteral } from '../core/quote.ts';
import { OWN_SCHEMA } from './own-schema.ts';

/** Rows are found by their key, and the first plan stays. */
const SETTINGS: readonly string[] = [
  'SET plan_cache_mode = force_generic_plan',
  'SET enable_hashjoin = off',
  'SET enable_mergejoin = off',
  'SET enable_seqscan = off',
  'SET jit = off',
  'SET statement_timeout = 0',
  'SET lock_timeout = 0',
  'SET idle_in_transaction_session_timeout = 0',
  "SET datestyle = 'ISO'",
  "SET intervalstyle = 'postgres'",
  'SET extra_float_digits = 3',
];

const NOT_ALLOWED = '42501';
const PROGRESS = `UPDATE ${OWN_SCHEMA}.follow
   SET position = CASE WHEN position = $2::pg_catalog.text::pg_catalog.pg_lsn
                       THEN $3::pg_catalog.text::pg_catalog.pg_lsn
                       ELSE ('moved to ' || position)::pg_catalog.text::pg_catalog.pg_lsn END,
       committed_at = pg_catalog.to_timestamp($4::pg_catalog.text::pg_catalog.float8 / 1000000)
 WHERE name = $1::pg_catalog.text`;
/** What the cast above fails with. */
const NOT_A_POSITION = /^invalid input syntax for type pg_lsn: "moved to/;

export const BEGIN: PipelineStatement = { text: 'BEGIN', values: [] };
export const COMMIT: PipelineStatement = { text: 'COMMIT', values: [] };
const ROLLBACK: PipelineStatement = { text: 'ROLLBACK', values: [] };
const DEFER: PipelineStatement = { text: 'SET CONSTRAINTS ALL DEFERRED', values: [] };

/** A connection to the target that writes changes. */
export class ApplySession {
  readonly #pipeline: Pipeline;
  readonly #follow: Buffer;
  /** Whether triggers and foreign keys are off, as they are for replication. */
  readonly isReplica: boolean;
  readonly #hasOrigin: boolean;

  private constructor(pipeline: Pipeline, follow: string, isReplica: boolean, hasOrigin: boolean) {
    this.#pipeline = pipeline;
    this.#follow = Buffer.from(follow);
    this.isReplica = isReplica;
    this.#hasOrigin = hasOrigin;
  }

  /**
   * `synchronousCommit`: how far each of the target's commits waits; `off` is safe, because nothing is acknowledged
   * to the source before it is durable.
   */
  static async open(options: {
    readonly to: string;
    readonly follow: string;
    readonly synchronousCommit: string;
  }): Promise<ApplySession> {
    const client = await connectToLeader(options.to, {
      applicationName: `lockstep follow ${options.follow}`,
    });
    try {
      const commit = `SET synchronous_commit = ${quoteLiteral(options.synchronousCommit)}`;
      await client.query([...SETTINGS, commit].join('; '));
      const isReplica = await isAllowed(client, 'SET session_replication_role = replica');
      const hasOrigin = isReplica && (await setUpOrigin(client, `lockstep_${options.follow}`));
      return new ApplySession(new Pipeline(client), options.follow, isReplica, hasOrigin);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#pipeline.isOpen;
  }

  /** Bytes that wait for the network. */
  get queuedBytes(): number {
    return this.#pipeline.queuedBytes;
  }

  send(statements: readonly PipelineStatement[]): Promise<FlightResult> {
    return this.#pipeline.send(statements);
  }

  /** Sends a target transaction that moves the follow on: exactly once, because it fails from any other position. */
  sendTransaction(
    from: Lsn,
    to: Lsn,
    committedAtMicros: bigint,
    statements: readonly PipelineStatement[],
  ): Promise<FlightResult> {
    return this.send([...this.begin(from, to, committedAtMicros), ...statements, COMMIT]);
  }

  /** The statements before those of a target transaction. */
  begin(from: Lsn, to: Lsn, committedAtMicros: bigint): PipelineStatement[] {
    const statements = [BEGIN, this.progress(from, to, committedAtMicros), DEFER];
    if (!this.#hasOrigin) return statements;
    return [
      ...statements,
      {
        text: `SELECT pg_replication_origin_xact_setup($1::text::pg_lsn, to_timestamp($2::text::float8 / 1000000))`,
        values: [Buffer.from(formatLsn(to)), Buffer.from(String(committedAtMicros))],
      },
    ];
  }

  progress(from: Lsn, to: Lsn, committedAtMicros: bigint): PipelineStatement {
    return {
      text: PROGRESS,
      values: [
        this.#follow,
        Buffer.from(formatLsn(from)),
        Buffer.from(formatLsn(to)),
        Buffer.from(String(committedAtMicros)),
      ],
    };
  }

  /** After a failed flight: leaves the failed transaction, so that the session can be used again. */
  async rollback(): Promise<void> {
    await this.send([ROLLBACK]);
  }

  end(): void {
    this.#pipeline.end();
  }
}

/** Whether the target's row says that somebody else has moved this follow on. */
export function isMovedByOthers(error: Error): boolean {
  return NOT_A_POSITION.test(error.message);
}

async function isAllowed(client: pg.Client, text: string): Promise<boolean> {
  try {
    await client.query(text);
    return true;
  } catch (error) {
    if ((error as pg.DatabaseError).code === NOT_ALLOWED) return false;
    throw error;
  }
}

/** Marks what is written as coming from elsewhere, where the role may do so and the server has room for it. */
async function setUpOrigin(client: pg.Client, origin: string): Promise<boolean> {
  try {
    await client.query(
      `SELECT pg_replication_origin_create($1) WHERE NOT EXISTS
         (SELECT FROM pg_replication_origin WHERE roname = $1)`,
      [origin],
    );
    await client.query('SELECT pg_replication_origin_session_setup($1)', [origin]);
    return true;
  } catch (error) {
    if (error instanceof pg.DatabaseError) return false;
    throw error;
  }
}

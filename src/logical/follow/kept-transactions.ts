import type pg from 'pg';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { PipelineStatement } from '../../wire/raw/pipeline.ts';
import { Catalog } from '../apply/catalog.ts';
import { compileExact } from '../apply/core/compile.ts';
import { withOwners } from '../apply/core/owners.ts';
import { decodeTransaction } from '../apply/core/serialize.ts';
import { classifyFailure } from '../apply/core/sqlstate.ts';
import type { TablePlan } from '../apply/core/table-plan.ts';
import { checkOwnSchema, OWN_SCHEMA } from '../apply/own-schema.ts';
import { Quarantine } from '../apply/quarantine.ts';
import { ApplySession, BEGIN, COMMIT } from '../apply/session.ts';
import { MisfitError } from '../apply/trouble.ts';
import type { TransactionPart } from '../core/change.ts';
import type { Relation } from '../core/relation.ts';
import { connectToLeader } from '../endpoints.ts';

/** A transaction in quarantine. */
export interface KeptTransaction {
  readonly id: number;
  readonly follow: string;
  /** Where it ended in the source's log. */
  readonly position: Lsn;
  readonly xid: number;
  readonly committedAt: Date;
  readonly tables: readonly string[];
  readonly sqlState: string;
  readonly error: string;
  readonly setAsideAt: Date;
}

interface KeptRow {
  readonly id: string;
  readonly follow: string;
  readonly position: string;
  readonly xid: string;
  readonly committed_at: Date;
  readonly tables: string[];
  readonly sqlstate: string;
  readonly error: string;
  readonly format: 'binary' | 'text';
  readonly messages: Buffer;
  readonly set_aside_at: Date;
}

/** Those of one follow, in the order in which the source committed them. */
export async function readKept(client: pg.Client, follow: string): Promise<KeptTransaction[]> {
  return (await readKeptRows(client, follow)).map((row) => ({
    id: Number(row.id),
    follow: row.follow,
    position: parseLsn(row.position),
    xid: Number(row.xid),
    committedAt: row.committed_at,
    tables: row.tables,
    sqlState: row.sqlstate,
    error: row.error,
    setAsideAt: row.set_aside_at,
  }));
}

async function readKeptRows(client: pg.Client, follow: string): Promise<KeptRow[]> {
  const { rows } = await client.query<KeptRow>(
    `SELECT id, follow, position::text, xid, committed_at, tables, sqlstate, error, format, messages, set_aside_at
       FROM ${OWN_SCHEMA}.quarantine WHERE follow = $1 ORDER BY id`,
    [follow],
  );
  return rows;
}

/**
 * Gives up transactions: their changes are never applied. Null: all of the follow. Gives how many. Throws CONFIG_INVALID
 * where Lockstep's schema there is another role's.
 */
export async function skipKept(
  client: pg.Client,
  follow: string,
  ids: readonly number[] | null,
): Promise<number> {
  await checkOwnSchema(client);
  const { rowCount } = await client.query(
    `DELETE FROM ${OWN_SCHEMA}.quarantine WHERE follow = $1 AND ($2::int8[] IS NULL OR id = ANY ($2))`,
    [follow, ids],
  );
  return rowCount ?? 0;
}

/** What a retry came to. */
export interface RetryOutcome {
  readonly applied: number;
  /** Those that failed again, and why. */
  readonly failed: readonly { readonly id: number; readonly error: string }[];
  /** Those that depend on one that failed. */
  readonly waiting: number;
}

/**
 * Applies transactions out of quarantine, oldest first, while the follow may run: each in one transaction that also
 * takes it out. One that fails again stays, and so do those behind it that touch its rows. Throws
 * CONFIG_INVALID where Lockstep's schema there is another role's.
 */
export async function retryKept(options: {
  readonly from: string;
  readonly to: string;
  readonly follow: string;
}): Promise<RetryOutcome> {
  const login = { applicationName: `lockstep follow ${options.follow} retry` };
  const source = await connectToLeader(options.from, login);
  try {
    const target = await connectToLeader(options.to, login);
    try {
      await checkOwnSchema(target);
      const session = await ApplySession.open({
        to: options.to,
        follow: options.follow,
        synchronousCommit: 'on',
      });
      try {
        return await retryAll(
          await readKeptRows(target, options.follow),
          new Catalog(source, target),
          session,
        );
      } finally {
        session.end();
      }
    } finally {
      await target.end();
    }
  } finally {
    await source.end();
  }
}

async function retryAll(
  rows: readonly KeptRow[],
  catalog: Catalog,
  session: ApplySession,
): Promise<RetryOutcome> {
  const failed: { id: number; error: string }[] = [];
  const blocked = Quarantine.empty('');
  let applied = 0;
  let waiting = 0;
  for (const row of rows) {
    const transaction = decodeTransaction(row.messages, (_oid, text) => text);
    const planOf = await planAll(transaction, catalog, row.format);
    if (blocked.concerns(transaction.changes, planOf)) {
      waiting++;
      blocked.add(transaction, planOf);
      continue;
    }
    const result = await session.send([
      BEGIN,
      lockFollow(row.follow),
      takeOut(row.id),
      ...withOwners(compileExact(transaction.changes, planOf)),
      COMMIT,
    ]);
    if (!('failure' in result)) {
      applied++;
      continue;
    }
    const { error } = result.failure;
    if (classifyFailure((error as { code?: string }).code) === 'passing') throw error;
    await session.rollback();
    failed.push({ id: Number(row.id), error: error.message });
    blocked.add(transaction, planOf);
  }
  return { applied, failed, waiting };
}

async function planAll(
  transaction: TransactionPart,
  catalog: Catalog,
  format: 'binary' | 'text',
): Promise<(relation: Relation) => TablePlan> {
  const plans = new Map<Relation, TablePlan>();
  for (const change of transaction.changes) {
    if (change.kind === 'message') continue;
    for (const relation of change.kind === 'truncate' ? change.relations : [change.relation]) {
      if (plans.has(relation)) continue;
      const result = await catalog.plan(relation, format);
      if (result.kind !== 'plan') {
        throw new MisfitError(
          result.kind === 'misfit'
            ? result.sentence
            : `Table ${relation.name} no longer takes the kept values.`,
        );
      }
      plans.set(relation, result.plan);
    }
  }
  return (relation) => {
    const plan = plans.get(relation);
    if (plan === undefined) throw new MisfitError(`Table ${relation.name} is not known.`);
    return plan;
  };
}

/** The running follow writes nothing meanwhile. */
function lockFollow(follow: string): PipelineStatement {
  return {
    text: `SELECT FROM ${OWN_SCHEMA}.follow WHERE name = $1::text FOR UPDATE`,
    values: [Buffer.from(follow)],
  };
}

function takeOut(id: string): PipelineStatement {
  return {
    text: `DELETE FROM ${OWN_SCHEMA}.quarantine WHERE id = $1::text::int8`,
    values: [Buffer.from(id)],
  };
}

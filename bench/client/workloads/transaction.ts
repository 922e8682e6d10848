import type pg from 'pg';
import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { Unsupported } from '../../contestant.ts';
import { ITEM_COUNT } from '../servers.ts';
import { openLockstep, openPlain, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

export interface TransactionWorkloadOptions {
  readonly target: Target;
  /** `plain` is what is written for pg by hand: connect, BEGIN, statements, COMMIT, release. */
  readonly form: 'plain' | 'function' | 'batch';
}

interface Statement {
  readonly text: string;
  readonly values: unknown[];
}

/** Two rows changed, one added, one read: the two are ordered, so that no two callers wait in a ring. */
function createStatements(nextId: () => number): Statement[] {
  const [from, to] = [nextId(), nextId()].sort((a, b) => a - b) as [number, number];
  return [
    { text: 'UPDATE item SET price = price - $2 WHERE id = $1', values: [from, 1] },
    { text: 'UPDATE item SET price = price + $2 WHERE id = $1', values: [to, 1] },
    { text: 'INSERT INTO payment (item_id, amount) VALUES ($1, $2)', values: [to, 1] },
    { text: 'SELECT price FROM item WHERE id = $1', values: [from] },
  ];
}

/** A write transaction of four statements; ours in a session, with a token and a durability level. */
export async function createWorkload(options: TransactionWorkloadOptions): Promise<Workload> {
  const { pool, run } = options.form === 'plain' ? openPlainRun(options.target) : await openOurRun(options);
  const nextId = scatteredIds(ITEM_COUNT);
  await run(createStatements(nextId));
  return {
    round: (durationMs) =>
      runClosedLoop(options.target.connections, durationMs, () => run(createStatements(nextId))),
    end: () => pool.end(),
  };
}

interface OpenRun {
  readonly pool: pg.Pool;
  run(statements: Statement[]): Promise<unknown>;
}

function openPlainRun(target: Target): OpenRun {
  const pool = openPlain(target);
  return {
    pool,
    run: async (statements) => {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        for (const { text, values } of statements) await client.query(text, values);
        await client.query('COMMIT');
      } finally {
        client.release();
      }
    },
  };
}

/** Each caller's session begins with the token of an earlier one, as a web request does. */
async function openOurRun({ target, form }: TransactionWorkloadOptions): Promise<OpenRun> {
  const pool = openLockstep(target);
  const first = pool.session();
  await first.query('UPDATE item SET price = price WHERE id = 1');
  let token = first.token ?? undefined;
  const run = async (statements: Statement[]): Promise<void> => {
    const session = pool.session({ token });
    if (form === 'batch') {
      await runBatch(session, statements);
    } else {
      await session.transaction(
        async (transaction) => {
          for (const { text, values } of statements) await transaction.query(text, values);
        },
        { durability: 'async' },
      );
    }
    if (session.token === null) throw new Error('A transaction in a session left no token.');
    token = session.token;
  };
  return { pool, run };
}

/** Statements known in advance, in one flight. */
async function runBatch(session: unknown, statements: readonly Statement[]): Promise<void> {
  const batching = session as {
    transaction(statements: readonly Statement[], options: { durability: 'async' }): Promise<unknown[]>;
  };
  try {
    await batching.transaction(statements, { durability: 'async' });
  } catch (error) {
    if (error instanceof TypeError && error.message.includes('not a function'))
      throw new Unsupported('transaction() takes no list of statements yet.');
    throw error;
  }
}

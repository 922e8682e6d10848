import { setTimeout as delay } from 'node:timers/promises';
import type { LockstepPool, Session } from '../../src/index.ts';
import { LockstepError } from '../../src/index.ts';
import type { History, Repeat, SessionRead, Told, Way, Write } from './core/history.ts';
import { draw } from '../../src/testing/simulation/random.ts';

/** A pool under load, and how many callers use it at once. */
export interface LoadedPool {
  readonly name: string;
  readonly pool: LockstepPool;
  readonly callers: number;
}

const WEIGHTS: Readonly<Record<Way, number>> = {
  session: 2,
  single: 1,
  transaction: 2,
  'plain client': 2,
  'keyed transaction': 4,
  'keyed statement': 2,
};

/** How often an acknowledged keyed call is made again. */
const REPEAT_SHARE = 0.2;
const ASYNC_SHARE = 0.25;

/** Callers think for up to this long between two calls, so that nodes that come back find room to catch up. */
const PAUSE_MS = 20;

interface Answer {
  readonly run: string;
  readonly timeline: number;
}

/** A second application shows as a count of 2; `run` tells which run of the caller's function was applied. */
const WRITE_SQL = `INSERT INTO effect AS e (id, count, run) VALUES ($1, 1, $2)
  ON CONFLICT (id) DO UPDATE SET count = e.count + 1
  RETURNING run, ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline`;

export const CREATE_EFFECTS =
  'CREATE TABLE effect (id text PRIMARY KEY, count int NOT NULL, run text NOT NULL)';

/** Callers that write through every part of the client and note what they were told. */
export class Load {
  readonly writes: Write[] = [];
  readonly #reads: SessionRead[] = [];
  readonly #repeats: Repeat[] = [];
  readonly #readErrors: string[] = [];
  readonly #random: () => number;
  readonly #callers: Promise<void>[];
  #isStopped = false;
  #round = 0;
  #nextId = 0;
  #acknowledged = 0;

  constructor(pools: readonly LoadedPool[], random: () => number) {
    this.#random = random;
    this.#callers = pools.flatMap(({ name, pool, callers }) =>
      Array.from({ length: callers }, () => this.#call(name, pool)),
    );
  }

  get history(): History {
    return {
      writes: this.writes,
      reads: this.#reads,
      repeats: this.#repeats,
      readErrors: this.#readErrors,
    };
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Ids name the round in which their write began. */
  beginRound(round: number): void {
    this.#round = round;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#callers);
  }

  async #call(name: string, pool: LockstepPool): Promise<void> {
    while (!this.#isStopped) {
      this.#nextId += 1;
      await this.#write(pool, `${this.#round}.${name}.${this.#nextId}`, draw(WEIGHTS, this.#random()));
      await delay(this.#random() * PAUSE_MS);
    }
  }

  async #write(pool: LockstepPool, id: string, way: Way): Promise<void> {
    const mayBeAsync = way === 'transaction' || way === 'keyed transaction';
    const isSynchronous = !mayBeAsync || this.#random() >= ASYNC_SHARE;
    const session = pool.session();
    const ways: Readonly<Record<Way, () => Promise<Answer>>> = {
      session: async () =>
        only(
          await session.query<Answer>({
            text: WRITE_SQL,
            values: [id, `${id}/1`],
            durability: 'sync',
          } as never),
        ),
      single: async () =>
        only(await pool.query<Answer>({ text: WRITE_SQL, values: [id, `${id}/1`], durability: 'sync' })),
      transaction: () => runTransaction(pool, id, isSynchronous),
      'plain client': () => runPlainClient(pool, id),
      'keyed transaction': () => runTransaction(pool, id, isSynchronous, id),
      'keyed statement': () => runKeyedStatement(pool, id, 1),
    };
    const calledAtMs = performance.now();
    const told = await tell(ways[way]);
    this.writes.push({ id, way, isSynchronous, calledAtMs, endedAtMs: performance.now(), told });
    if (told.kind !== 'acknowledged') return;
    this.#acknowledged += 1;
    if (way === 'session') await this.#readBack(session, id);
    const isKeyed = way === 'keyed transaction' || way === 'keyed statement';
    if (!isKeyed || !isSynchronous || this.#random() >= REPEAT_SHARE) return;
    const again =
      way === 'keyed transaction' ? runTransaction(pool, id, true, id) : runKeyedStatement(pool, id, 2);
    this.#repeats.push({ id, told: await tell(() => again) });
  }

  async #readBack(session: Session, id: string): Promise<void> {
    try {
      const { rows } = await session.query('SELECT count FROM effect WHERE id = $1', [id]);
      this.#reads.push({ id, isSeen: rows.length > 0 });
    } catch (error) {
      this.#readErrors.push(`read of ${id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

let runs = 0;

/** Each run of the function writes another name, so that a wrongly resolved outcome shows. */
function runTransaction(
  pool: LockstepPool,
  id: string,
  isSynchronous: boolean,
  key?: string,
): Promise<Answer> {
  return pool.transaction(
    async (transaction) => {
      runs += 1;
      const run = `${id}/${runs}`;
      const { timeline } = only(await transaction.query<Answer>(WRITE_SQL, [id, run]));
      return { run, timeline };
    },
    { durability: isSynchronous ? 'sync' : 'async', idempotencyKey: key },
  );
}

async function runKeyedStatement(pool: LockstepPool, id: string, run: number): Promise<Answer> {
  const values = [id, `${id}/${run}`];
  return only(await pool.query<Answer>({ text: WRITE_SQL, values, durability: 'sync', idempotencyKey: id }));
}

async function runPlainClient(pool: LockstepPool, id: string): Promise<Answer> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const answer = only(await client.query<Answer>(WRITE_SQL, [id, `${id}/1`]));
    await client.query('COMMIT');
    return answer;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

function only({ rows }: { readonly rows: readonly Answer[] }): Answer {
  const row = rows[0];
  if (row === undefined) throw new Error('The write returned no row.');
  return row;
}

async function tell(work: () => Promise<Answer>): Promise<Told> {
  try {
    const { run, timeline } = await work();
    return { kind: 'acknowledged', run, timeline };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof LockstepError)
      return { kind: 'failed', code: error.code, outcome: error.outcome, message };
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'none';
    return { kind: 'failed', code, outcome: 'not-applied', message };
  }
}

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { until } from '../integration/fixture.ts';
import { Recipes } from './recipes.ts';
import type { Recipe } from './recipes.ts';

const NAMES = ['drizzle', 'kysely', 'knex', 'prisma', 'typeorm', 'sequelize'] as const;

let cluster: TestCluster;
let recipes: Recipes;

beforeAll(async () => {
  [cluster, recipes] = await Promise.all([startTestCluster(), Recipes.write()]);
  const pool = connect(cluster.url);
  await pool.query('CREATE TABLE pieces (name text PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0))');
  await pool.end();
});

afterAll(async () => {
  await recipes?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

/** A read may go to a follower that has not replayed the write yet. */
async function untilStock(recipe: Recipe, name: string, stock: number | undefined): Promise<void> {
  await until(`${name} at ${stock}`, async () => (await recipe.stockOf(name)) === stock);
}

/** What PostgreSQL or Lockstep said, however the library wraps it. */
function causes(error: unknown): Record<string, unknown>[] {
  if (typeof error !== 'object' || error === null) return [];
  const { cause, driverError, meta, original } = error as Record<string, unknown>;
  const { driverAdapterError } = (meta ?? {}) as Record<string, unknown>;
  return [
    error as Record<string, unknown>,
    ...[cause, driverError, driverAdapterError, original].filter((inner) => inner !== error).flatMap(causes),
  ];
}

function said(error: unknown): string[] {
  return causes(error).flatMap(({ code, originalCode }) => [String(code), String(originalCode)]);
}

it('the recipes compile', async () => {
  await recipes.compile();
});

describe.each(NAMES)('%s', (name) => {
  let recipe: Recipe;

  beforeAll(async () => {
    recipe = await recipes.open(name, cluster.url, 'alone');
  });

  afterAll(async () => {
    await recipe?.close();
    expect(recipe.pool.ended).toBe(true);
  });

  it('creates, reads, changes and deletes', async () => {
    await recipe.add(`${name} bolt`, 5);
    await untilStock(recipe, `${name} bolt`, 5);
    await recipe.restock(`${name} bolt`, 8);
    await untilStock(recipe, `${name} bolt`, 8);
    await recipe.remove(`${name} bolt`);
    await untilStock(recipe, `${name} bolt`, undefined);
  });

  it('commits a transaction whole, and rolls a failed one back whole', async () => {
    const [from, to] = [`${name} from`, `${name} to`];
    await recipe.add(from, 5);
    await recipe.add(to, 0);
    await recipe.move(from, to, 3);
    await untilStock(recipe, to, 3);
    await untilStock(recipe, from, 2);
    const error: unknown = await recipe.move(from, to, 3).catch((thrown: unknown) => thrown);
    expect(said(error)).toContain('23514');
    const { rows } = await recipe.pool.leader.query(
      'SELECT stock FROM pieces WHERE name = ANY($1) ORDER BY 1',
      [[from, to]],
    );
    expect(rows).toEqual([{ stock: 2 }, { stock: 3 }]);
    expect(recipe.pool.waitingCount).toBe(0);
    await untilStock(recipe, to, 3);
  });

  it('is told what PostgreSQL said', async () => {
    await recipe.add(`${name} twice`, 1);
    const error: unknown = await recipe.add(`${name} twice`, 1).catch((thrown: unknown) => thrown);
    expect(said(error)).toContain(name === 'prisma' ? 'P2002' : '23505');
  });

  it('reads its own writes in an ambient session', async () => {
    await recipe.add(`${name} nut`, 0);
    await recipe.pool.withSession({}, async () => {
      for (let stock = 1; stock <= 30; stock += 1) {
        await recipe.restock(`${name} nut`, stock);
        expect(await recipe.stockOf(`${name} nut`)).toBe(stock);
      }
    });
  });

  it('reads from the followers', async () => {
    const { leader } = await recipe.pool.topology();
    const before = { ...recipe.pool.stats().readsByNode };
    for (let read = 0; read < 20; read += 1) await recipe.stockOf(`${name} from`);
    const after = recipe.pool.stats().readsByNode;
    const onFollowers = cluster.nodes
      .filter((node) => node.name !== leader)
      .map((node) => (after[node.name] ?? 0) - (before[node.name] ?? 0));
    expect(onFollowers.reduce((sum, count) => sum + count, 0)).toBe(20);
  });
});

it('all of them work on when the leader dies, and lose nothing that they were told is there', async () => {
  const names = [...NAMES, 'knexclient'];
  const open = await Promise.all(names.map((name) => recipes.open(name, cluster.url, 'failover')));
  const pool = connect(cluster.url);
  const workers = names.map((name, index) => new Worker(name, open[index] as Recipe));
  try {
    const stop = new AbortController();
    const done = Promise.all(workers.map((worker) => worker.work(stop.signal)));
    await until('work by everyone', () => workers.every((worker) => worker.added.length >= 10));
    await cluster.kill(await cluster.leader());
    const already = workers.map((worker) => worker.added.length);
    await until('work by everyone after the failover', () =>
      workers.every((worker, index) => worker.added.length >= (already[index] ?? 0) + 10),
    );
    stop.abort();
    await done;
    expect(workers.flatMap((worker) => worker.unexpected)).toEqual([]);
    const { rows } = await pool.leader.query<{ name: string }>('SELECT name FROM pieces');
    const present = new Set(rows.map((row) => row.name));
    const lost = workers.flatMap((worker) => worker.added).filter((name) => !present.has(name));
    expect(lost).toEqual([]);
  } finally {
    await Promise.all([...open.map((recipe) => recipe.close()), pool.end()]);
  }
});

/** Adds one piece after the other; what it is told is not there, or may not be, it does not count. */
class Worker {
  readonly added: string[] = [];
  readonly unexpected: unknown[] = [];
  readonly #name: string;
  readonly #recipe: Recipe;

  constructor(name: string, recipe: Recipe) {
    this.#name = name;
    this.#recipe = recipe;
  }

  async work(signal: AbortSignal): Promise<void> {
    for (let number = 0; !signal.aborted; number += 1) {
      const name = `${this.#name} ${number}`;
      try {
        await this.#recipe.add(name, 1);
        this.added.push(name);
        await this.#recipe.stockOf(name);
      } catch (error) {
        if (!said(error).includes('COMMIT_UNKNOWN')) this.unexpected.push(error);
      }
    }
  }
}

import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LockstepPool, Transaction } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { until } from '../integration/fixture.ts';
import { Recipes } from './recipes.ts';

/** What the recipes for job queues in docs/orms.md export. */
interface Queue {
  readonly pool: LockstepPool;
  send(order: string): Promise<void>;
  sendIn(transaction: Transaction, order: string): Promise<void>;
  work(handle: (order: string) => void): Promise<void>;
  close(): Promise<void>;
}

/** As an app does: a job that may be there is sent again, for it is done at least once anyway. */
async function send(queue: Queue, order: string): Promise<void> {
  try {
    await queue.send(order);
  } catch (error) {
    if ((error as { code?: string }).code !== 'COMMIT_UNKNOWN') throw error;
    await queue.send(order);
  }
}

const NAMES = ['pgboss', 'graphile'];

/** A queue looks for jobs every few seconds, and for its server again after a pause of its own. */
const DEADLINE_MS = 40_000;

let cluster: TestCluster;
let recipes: Recipes;

beforeAll(async () => {
  [cluster, recipes] = await Promise.all([startTestCluster(), Recipes.write({ withPrisma: false })]);
});

afterAll(async () => {
  await recipes?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

it('job queues do what was committed, before and after a failover', async () => {
  const queues = await Promise.all(NAMES.map((name) => recipes.open<Queue>(name, cluster.url, 'jobs')));
  const handled = queues.map(() => new Set<string>());
  const sendAll = async (orders: string[]): Promise<void> => {
    for (const order of orders) await Promise.all(queues.map((queue) => send(queue, order)));
  };
  const areDone = (orders: string[]): boolean =>
    handled.every((done) => orders.every((order) => done.has(order)));
  try {
    await Promise.all(queues.map((queue, at) => queue.work((order) => handled[at]?.add(order))));
    await sendAll(['first', 'second']);
    for (const queue of queues) {
      await queue.pool.transaction((transaction) => queue.sendIn(transaction, 'committed'));
      const taken = queue.pool.transaction(async (transaction) => {
        await queue.sendIn(transaction, 'taken back');
        throw new Error('no such article');
      });
      await expect(taken).rejects.toThrow('no such article');
    }
    await until('the jobs to be done', () => areDone(['first', 'second', 'committed']), DEADLINE_MS);
    await cluster.kill(await cluster.leader());
    await sendAll(['third', 'fourth']);
    await until('the jobs sent since then to be done', () => areDone(['third', 'fourth']), DEADLINE_MS);
    for (const done of handled) expect(done).not.toContain('taken back');
  } finally {
    await Promise.all(queues.map((queue) => queue.close()));
  }
}, 120_000);

import pg from 'pg';
import { expect, it } from 'vitest';
import { cart, cas, lww } from '../../../src/leaderless/index.ts';
import { replaceNode } from '../../../src/leaderless/members/replace.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

it('a server is replaced, and another one emptied and refilled, while clients work and lose nothing', async () => {
  await using servers = await IndependentServers.start(4);
  const old = ['q1', 'q2', 'q3'];
  const q = await servers.quorum({}, old);
  const other = await servers.quorum({}, old);
  const carts = q.collection('carts', cart());
  const prefs = q.collection('prefs', lww<number>());
  const counters = other.collection('counters', cas<number>());
  for (let index = 0; index < 30; index++) {
    await carts.add(`c${index}`, { sku: 1, quantity: 1 });
    await prefs.put(`p${index}`, index);
    await counters.create(`n${index}`, 0);
  }
  // q3 is gone for good, with what it alone knew.
  await servers.kill('q3');

  let isOver = false;
  let added = 0;
  let counted = 0;
  let unknown = 0;
  const work = Promise.all([
    (async () => {
      while (!isOver) {
        await carts.add(`c${added % 30}`, { sku: 1, quantity: 1 }, { deadlineMs: 10_000 });
        added += 1;
      }
    })(),
    (async () => {
      while (!isOver) {
        const result = await counters.update('n0', (value = 0) => value + 1, { deadlineMs: 10_000 });
        if (result.kind === 'applied') counted += 1;
        else unknown += 1;
      }
    })(),
  ]);
  try {
    const { url } = servers.named('q4');
    const nodes = old.map((name) => ({ name, url: servers.named(name).url }));
    const steps: string[] = [];
    const replaced = await replaceNode({
      nodes,
      leaving: 'q3',
      by: { name: 'q4', url },
      deadlineMs: 60_000,
      onStep: (step) => steps.push(step),
    });
    expect(steps.at(-1)).toBe('every key was carried over');
    expect(replaced.members).toHaveLength(3);
    await until('both processes go by it', () => [q, other].every((each) => each.status().epoch === 3));

    // q2 is emptied and refilled; processes that were told of q3 find q4 by what the others say.
    const reached = added;
    await until('work goes on', () => added > reached + 5);
    await replaceNode({
      nodes: [...nodes.slice(0, 2), { name: 'q4', url }],
      leaving: 'q2',
      deadlineMs: 60_000,
    });
    await until('both processes go by it', () => [q, other].every((each) => each.status().epoch === 5));
    await until('all are up', () => q.status().nodes.filter(({ state }) => state === 'up').length === 3);
  } finally {
    isOver = true;
    await work;
  }
  expect(unknown).toBe(0);

  // What the first server had is on the two others, which were not there in the beginning.
  await servers.kill('q1');
  const late = await servers.quorum({}, ['q1', 'q2', 'q4']);
  await until('two are up', () => late.status().hasQuorum);
  const lateCarts = late.collection('carts', cart());
  let total = 0;
  for (let index = 0; index < 30; index++) {
    total += (await lateCarts.get(`c${index}`)).value.reduce((sum, { quantity }) => sum + quantity, 0);
    expect((await late.collection('prefs', lww<number>()).get(`p${index}`)).value).toBe(index);
    const { value } = await late.collection('counters', cas<number>()).get(`n${index}`);
    expect(value).toBe(index === 0 ? counted : 0);
  }
  expect(total).toBe(30 + added);

  // The one that was replaced is told when it comes back.
  await servers.restart('q3');
  await until('it is refused', () =>
    q
      .status()
      .nodes.some(({ problem }) => problem?.includes('none of the servers of this quorum any more') === true),
  );
});

it('a server that tells alone of later members leads nobody to them, and tells nobody else', async () => {
  await using servers = await IndependentServers.start();
  await using elsewhere = await IndependentServers.start(1);
  const q = await servers.quorum();
  const prefs = q.collection('prefs', lww<number>());
  await prefs.put('a', 1, { level: 'all' });
  const visits = async (): Promise<number> => {
    const { rows } = await ask(
      elsewhere.named('q1').url,
      "SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name LIKE 'lockstep%'",
    );
    return (rows[0] as { count: number }).count;
  };
  const { port } = elsewhere.named('q1');
  await ask(
    servers.named('q1').url,
    `UPDATE lockstep_leaderless.node SET epoch = 9, members = members[1:2] || '{7}'::text[],
       addresses = jsonb_build_object('7', '127.0.0.1:${port}/postgres')`,
  );
  await until('it is refused', async () => {
    await prefs.put('a', 2);
    const { problem } = q.status().nodes.find(({ name }) => name === 'q1') ?? {};
    return problem?.includes('that were not named, and no majority of those of epoch 1 does') === true;
  });
  const late = await servers.quorum();
  expect((await late.collection('prefs', lww<number>()).get('a')).value).toBe(2);
  expect([q.status().epoch, late.status().epoch]).toEqual([1, 1]);
  for (const name of ['q2', 'q3']) {
    const { rows } = await ask(servers.named(name).url, 'SELECT epoch FROM lockstep_leaderless.node');
    expect(rows).toEqual([{ epoch: 1 }]);
  }
  expect(await visits()).toBe(0);
});

async function ask(url: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

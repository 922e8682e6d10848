import { setImmediate as turn } from 'node:timers/promises';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { StatementLogEntry } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';

const CANARY = 'canary-7f3a';

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

it('tells a real OpenTelemetry meter what the pool does, and nothing after its end', async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.DELTA);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  const pool = connect({ connectionString: cluster.url, meter: provider.getMeter('test'), max: 7 });
  const points = async (): Promise<
    Map<string, { value: unknown; attributes: Record<string, unknown> }[]>
  > => {
    exporter.reset();
    await reader.forceFlush();
    const metrics =
      exporter
        .getMetrics()
        .at(-1)
        ?.scopeMetrics.flatMap((scope) => scope.metrics) ?? [];
    return new Map(metrics.map(({ descriptor, dataPoints }) => [descriptor.name, [...dataPoints]]));
  };
  await pool.topology();
  await pool.query('CREATE TABLE seen (id int PRIMARY KEY)');
  const session = pool.session();
  await session.query('INSERT INTO seen VALUES (1)');
  await session.query('SELECT * FROM seen');
  await expect(pool.query('SELECT 1 / 0')).rejects.toThrow();
  await pool.transaction([{ text: 'DELETE FROM seen' }]);

  const told = await points();
  const sum = (name: string, where: Record<string, unknown> = {}): number =>
    (told.get(name) ?? [])
      .filter(({ attributes }) => Object.entries(where).every(([key, value]) => attributes[key] === value))
      .reduce(
        (total, { value }) =>
          total + Number(typeof value === 'number' ? value : (value as { count: number }).count),
        0,
      );
  const duration = 'db.client.operation.duration';
  expect(sum(duration, { 'db.operation.name': 'INSERT', 'lockstep.node.role': 'leader' })).toBe(1);
  expect(
    sum(duration, { 'db.operation.name': 'SELECT', 'lockstep.node.role': 'follower' }),
  ).toBeGreaterThanOrEqual(1);
  expect(sum(duration, { 'error.type': '22012' })).toBeGreaterThanOrEqual(1);
  expect(told.get(duration)?.[0]?.attributes).toMatchObject({
    'db.system.name': 'postgresql',
    'server.address': '127.0.0.1',
    'server.port': expect.any(Number) as number,
  });
  expect(sum('lockstep.client.writes')).toBe(pool.stats().writes);
  expect(sum('lockstep.client.reads')).toBe(1);
  expect(sum('db.client.connection.count', { 'db.client.connection.state': 'idle' })).toBe(pool.idleCount);
  expect(sum('db.client.connection.max')).toBe(7);
  expect(told.get('lockstep.client.replication.lag')).toHaveLength(3);

  await pool.end();
  const afterwards = await points();
  expect(afterwards.get('lockstep.client.writes') ?? []).toEqual([]);
  await provider.shutdown();
});

it('logs every statement with its way and time, and never a parameter or literal', async () => {
  const lines: [string, ...unknown[]][] = [];
  const pool = connect({ connectionString: cluster.url, log: (...line) => lines.push(line as [string]) });
  await pool.topology();
  await pool.query('CREATE TABLE kept (id int PRIMARY KEY, v text NOT NULL)');
  await pool.query('INSERT INTO kept VALUES ($1, $2)', [1, CANARY]);
  await pool.query(`INSERT INTO kept VALUES (2, '${CANARY}') -- ${CANARY}`);
  await pool.query('SELECT id /* a page */ FROM kept WHERE v = $1', [CANARY]);
  const failing = [
    () => pool.query('INSERT INTO kept VALUES ($1, $2)', [1, CANARY]),
    () => pool.query('SELECT $1::int', [CANARY]),
    () => pool.query(`SELECT '${CANARY}'::int`),
    () => pool.query(`SELECT E'\\\\${CANARY}' '${CANARY}`),
    () => pool.transaction((tx) => tx.query('INSERT INTO kept VALUES ($1, $2)', [1, CANARY])),
    () => pool.transaction([{ text: `INSERT INTO kept VALUES (1, $1)`, values: [CANARY] }]),
    () => pool.query({ text: 'SELECT $1', values: [CANARY], durability: 'no such durability' }),
  ];
  for (const run of failing) await expect(run()).rejects.toThrow();
  await pool.transaction((tx) => tx.query('UPDATE kept SET v = $1', [CANARY]));
  const client = await pool.connect();
  await client.query(`SET application_name TO '${CANARY}'`);
  await client.query('SELECT $1::text', [CANARY]);
  client.release();
  await pool.end();

  expect(JSON.stringify(lines)).not.toContain(CANARY);
  const entries = lines.map(([, entry]) => entry as StatementLogEntry);
  const of = (statement: string): StatementLogEntry[] =>
    entries.filter((entry) => entry.statement === statement);
  expect(of('select id from kept where v = $')).toMatchObject([
    { event: 'statement', role: 'follower', reason: 'read, 2 eligible followers', error: null },
  ]);
  expect(of('insert into kept values(?, ?)')).toMatchObject([{ role: 'leader', error: null }]);
  expect(of('insert into kept values($, $)').map(({ error }) => error)).toEqual([null, '23505', '23505']);
  expect(of('COMMIT')).toHaveLength(1);
  expect(lines.every(([line]) => /^(leader|follower) n\d, \d+\.\d ms/.test(line))).toBe(true);
});

it('does not let a log that throws spoil a statement', async () => {
  const thrown: unknown[] = [];
  const keep = (error: unknown): void => void thrown.push(error);
  const former = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', keep);
  const pool = connect({
    connectionString: cluster.url,
    log: () => {
      throw new Error('the disk is full');
    },
  });
  try {
    expect((await pool.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
    await turn();
    expect(thrown).toMatchObject([{ message: 'the disk is full' }]);
  } finally {
    await pool.end();
    process.removeListener('uncaughtException', keep);
    for (const listener of former) process.on('uncaughtException', listener);
  }
});

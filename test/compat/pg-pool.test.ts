import type { PoolConfig } from 'pg';
import { afterAll, beforeAll, describe } from 'vitest';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { describeClients } from './pool-clients.ts';
import { describeConnections } from './pool-connections.ts';
import { leaderAddress, poolKinds } from './pool-kinds.ts';
import { describeQueries } from './pool-queries.ts';
import { describeSingleServer } from './pool-single-server.ts';

let cluster: TestCluster;
let leader: PoolConfig;

beforeAll(async () => {
  cluster = await startTestCluster();
  leader = await leaderAddress(cluster);
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

const kinds = poolKinds(
  () => cluster,
  () => leader,
);

describe.each(kinds)('$name', (kind) => {
  describeQueries(kind);
  describeClients(kind);
  describeConnections(kind);
});

describe('with what pg.Pool takes', () => {
  describeSingleServer(() => leader);
});

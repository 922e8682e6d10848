import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClusterSource } from '../../src/admin/cluster-source.ts';
import {
  askAgent,
  askAnyAgent,
  askForNodesAnswer,
  newsVerifierOf,
} from '../../src/cli/commands/agent-request.ts';
import { findNodeChanges, NodeWatch } from '../../src/cli/dev/dev-nodes.ts';
import type { NodeChanges } from '../../src/cli/dev/dev-nodes.ts';
import { OPERATOR } from '../../src/coordination/agent-seal.ts';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { agentUrl, findNode, readClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../src/leader-follower/config/config.ts';
import { openSeal } from '../../src/leader-follower/config/coordination.ts';
import type { Topology } from '../../src/model/topology.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { until } from './fixture.ts';
import { Flood, Impostor } from './hostile-peers.ts';

let cluster: TestCluster;
let config: ClusterConfig;
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster();
  config = await readClusterConfig(join(cluster.folder, 'cluster.json'));
  pool = connect(cluster.url);
  await pool.query('CREATE TABLE written (id serial PRIMARY KEY)');
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

/** Ordinary work goes on for at least so many rounds, however soon an attack is over. */
const LEAST_ROUNDS = 10;

/** Writes and reads all the while, and for some rounds at least; what fails is remembered. */
async function keepWorking(signal: AbortSignal): Promise<unknown[]> {
  const failures: unknown[] = [];
  let done = 0;
  while (failures.length === 0 && (!signal.aborted || done < LEAST_ROUNDS)) {
    try {
      await pool.query('INSERT INTO written DEFAULT VALUES');
      await pool.query('SELECT count(*) FROM written');
      done += 1;
    } catch (error) {
      failures.push(error);
    }
    await delay(5);
  }
  return failures;
}

/** Runs `attack` beside ordinary work: nobody is deposed by it, and no work fails. */
async function withstand(attack: () => Promise<void>): Promise<void> {
  const before = await cluster.status();
  const stop = new AbortController();
  const work = keepWorking(stop.signal);
  try {
    await attack();
  } finally {
    stop.abort();
  }
  expect(await work).toEqual([]);
  const after = await cluster.status();
  expect([after.leader, after.term]).toEqual([before.leader, before.term]);
}

async function leading(): Promise<NodeConfig> {
  return findNode(config, await cluster.leader());
}

async function residentMegabytes(node: NodeConfig): Promise<number> {
  const text = await (await fetch(`${agentUrl(node)}/metrics`)).text();
  const bytes = /^process_resident_memory_bytes\S* (\S+)$/m.exec(text)?.[1];
  return Number(bytes) / 1_000_000;
}

test('an impostor on a dead node’s ports gets no secret, names no node and stops nobody', async () => {
  const leader = await leading();
  const victim = config.nodes.find(({ name }) => name !== leader.name)!;
  const genuine = await cluster.status();
  await cluster.kill(victim.name);
  // Public all of it, but for what is made up.
  const added = { ...genuine.nodes[0]!, name: 'n9', host: '127.0.0.2/32 trust\n#', port: victim.port };
  const rogue: Topology['nodes'][number] = {
    ...added,
    name: 'n8',
    host: '127.0.0.1',
    role: 'leader',
    state: 'running',
  };
  const forgeries: Topology[] = [
    { ...genuine, term: 1e9, version: 1e15, leader: null, nodes: [...genuine.nodes, added] },
    {
      ...genuine,
      term: 1e9 + 1,
      version: 1e15,
      leader: 'n8',
      timeline: 99,
      nodes: [...genuine.nodes, rogue],
    },
  ];
  const changes: (NodeChanges | null)[] = [];
  const source = createClusterSource({
    agentUrls: config.nodes.map(agentUrl),
    verify: newsVerifierOf(config),
  });
  const watch = new NodeWatch({
    config: () => config,
    ask: () => askForNodesAnswer(config),
    onNodes: (answer) => changes.push(findNodeChanges(config, answer)),
  });
  for (const forged of forgeries) watch.hint(forged);
  {
    await using impostor = new Impostor();
    let shown = 0;
    await impostor.serveAgent(victim.agentPort, () => forgeries[shown++ % forgeries.length]!);
    await impostor.servePostgres(victim.port);
    await withstand(async () => {
      // Everybody who speaks to a node meets it: agents, the client's feeds and probes, the dashboard, a person.
      const kinds = ['GET /v1/events', 'GET /v1/nodes', 'POST /v1/restart'];
      await until(
        'all have met the impostor',
        async () => {
          const asked = { path: '/v1/restart', body: {}, timeoutMs: 5_000 };
          await expect(askAgent(config, victim, asked)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
          const isMet = kinds.every((kind) => impostor.asked.includes(kind));
          return isMet && impostor.postgresConnections > 16;
        },
        60_000,
      );
    });
    for (const secret of Object.values(config.secrets)) expect(impostor.heard).not.toContain(secret);
    expect(impostor.heard).not.toMatch(/p\0\0\0.md5/);
    expect(source.topology()?.nodes.map(({ name }) => name)).toEqual(genuine.nodes.map(({ name }) => name));
    expect(source.topology()?.leader).toBe(leader.name);
  }
  watch.close();
  source.close();
  expect(changes.filter((change) => change !== null)).toEqual([]);
  // A client that lived through it, and one that comes after, are served as before.
  await pool.query('INSERT INTO written DEFAULT VALUES');
  await using fresh = Object.assign(connect(cluster.url), {
    [Symbol.asyncDispose](this: LockstepPool) {
      return this.end();
    },
  });
  await fresh.query('INSERT INTO written DEFAULT VALUES');
  await cluster.start(victim.name);
  await cluster.untilWhole();
});

test('an impostor on a dead node’s port that only switches protocols holds nobody up for good', async () => {
  const leader = await leading();
  const [victim, other] = config.nodes.filter(({ name }) => name !== leader.name);
  await cluster.kill(victim!.name);
  {
    await using impostor = new Impostor();
    await impostor.switchProtocols(victim!.agentPort);
    await withstand(async () => {
      const isMet = (): boolean => impostor.asked.filter((line) => line === 'POST /v1/consensus').length > 20;
      await until('the voters have met it', isMet, 60_000);
    });
    await cluster.kill(other!.name);
    const askedBefore = impostor.asked.length;
    await until('the leader is without a majority', () => impostor.asked.length > askedBefore + 20, 60_000);
    // With this one there is a majority again, also while the impostor stays.
    await cluster.start(other!.name);
    await pool.query('INSERT INTO written DEFAULT VALUES');
  }
  await cluster.start(victim!.name);
  await cluster.untilWhole();
});

test('floods of the leader’s agent fill no memory, hold no place and depose nobody', async () => {
  const leader = await leading();
  const before = await residentMegabytes(leader);
  const head = (line: string, ...headers: string[]): string =>
    `${[line, 'host: agent', ...headers].join('\r\n')}\r\n\r\n`;
  {
    using flood = new Flood(leader.agentPort);
    await withstand(async () => {
      const upgrade = ['connection: upgrade', 'upgrade: lockstep-link'];
      await flood.send(1_500, head('GET /v1/link HTTP/1.1', ...upgrade), true);
      await flood.send(400, head('GET /v1/events HTTP/1.1'));
      const big = head('POST /v1/fence HTTP/1.1', 'content-length: 300000000');
      await flood.send(20, Buffer.concat([Buffer.from(big), Buffer.alloc(200_000)]));
      await flood.send(20, head('POST /v1/consensus HTTP/1.1', 'transfer-encoding: chunked') + 'ffffff\r\n');
      await flood.send(300, 'GET /v1/topology HTTP/1.1\r\nhost: slow');
      await flood.send(300, Buffer.from(Array.from({ length: 500 }, (_, n) => (n * 7919) % 256)));
      await flood.send(300, '');
    });
    // Streams have a place of their own, and strangers theirs; the rest were ended.
    await until('the crowd is bounded', () => flood.held <= 300);
  }
  expect((await residentMegabytes(leader)) - before).toBeLessThan(150);
  // As soon as it is over, everything is served again, streams too.
  const stream = await until('an event stream', async () => {
    const response = await fetch(`${agentUrl(leader)}/v1/events`, { signal: AbortSignal.timeout(5_000) });
    return response.status === 200 ? response : null;
  });
  await stream.body?.cancel();
  await pool.query('INSERT INTO written DEFAULT VALUES');
});

test('a recorded command, repeated, does nothing', async () => {
  const leader = await leading();
  const seal = openSeal(config, OPERATOR);
  const { challenge } = (await (await fetch(`${agentUrl(leader)}/v1/challenge`)).json()) as {
    challenge: string;
  };
  const body = JSON.stringify({ kind: 'pause', reason: 'recorded' });
  const { authorization } = seal.seal({ to: leader.name, method: 'POST', path: '/v1/plan', body }, challenge);
  const repeat = (text = body, path = '/v1/plan'): Promise<number> => post(leader, path, authorization, text);
  expect(await repeat()).toBe(200);
  await askAnyAgent(config, { path: '/v1/plan', body: { kind: 'resume' }, timeoutMs: 10_000 });
  await withstand(async () => {
    for (let n = 0; n < 20; n += 1) expect(await repeat()).toBe(400);
    expect(await repeat(body.replace('recorded', 'changed!'))).toBe(401);
    expect(await repeat(body, '/v1/switchover')).toBe(401);
  });
  const { plan } = await askAnyAgent<{ plan: { maintenance: unknown } }>(config, {
    path: '/v1/plan',
    timeoutMs: 5_000,
  });
  expect(plan.maintenance).toBeNull();
});

async function post(node: NodeConfig, path: string, authorization: string, body: string): Promise<number> {
  const headers = {
    authorization,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  const sent = request({
    host: node.host,
    port: node.agentPort,
    path,
    method: 'POST',
    headers,
    agent: false,
  });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [{ statusCode?: number; resume(): void }];
  response.resume();
  return response.statusCode ?? 0;
}

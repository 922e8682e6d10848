import { expect, onTestFinished, test } from 'vitest';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import { Member } from '../../src/leader-follower/member.ts';
import type { AgentApi } from '../../src/leader-follower/peers/api.ts';
import { EventLog } from '../../src/leader-follower/report/event-log.ts';
import { Witness } from '../../src/leader-follower/witness.ts';
import type { Register } from '../../src/coordination/contract.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import { n1, n3, stateOf } from './decide-views.ts';
import { parseTerm } from '../../src/model/node.ts';

const SUPPORT_MS = 600;

function clusterConfig(): ClusterConfig {
  const node = (name: string, port: number): object => ({
    name,
    host: '127.0.0.1',
    port,
    agentPort: port + 1,
  });
  return parseClusterConfig(
    {
      id: '3f0a1c52-5b1e-4a6c-9d5e-1f2a3b4c5d6e',
      name: 'test',
      nodes: [node('n1', 1), node('n2', 3), { name: 'n3', host: '127.0.0.1', agentPort: 5, witness: true }],
      secrets: {
        superuser: 'superuser-of-the-test',
        replication: 'replication-of-the-test',
        app: 'app-user-of-the-test',
        agent: 'agent-of-the-test',
      },
    },
    'a test',
  );
}

/** A member that ships, on a clock, a network and registers of the test's. */
async function runWitness(time: VirtualTime): Promise<{ api: AgentApi; write(register: Register): void }> {
  const config = clusterConfig();
  const opened = Promise.withResolvers<AgentApi>();
  let known: Register = { version: 0, value: undefined };
  let tell: (register: Register) => void = () => undefined;
  const member = new Member({
    config,
    node: config.nodes.find(({ name }) => name === n3)!,
    events: new EventLog('n3'),
    clock: time,
    coordination: {
      registers: {
        read: async (key) => (key === 'cluster' ? known : { version: 0, value: undefined }),
        compareAndSet: async () => ({ kind: 'unknown', reason: 'a witness writes nothing' }),
        expectWrite: () => undefined,
        watch: (key, listener) => {
          if (key === 'cluster') tell = listener;
          return () => undefined;
        },
        close: async () => undefined,
      },
      vote: null,
      standing: null,
      acceptor: null,
      carry: async () => true,
      voteObstacle: () => null,
      close: async () => undefined,
    },
    openPeers: () => ({
      use: () => undefined,
      reports: () => [],
      onPong: () => undefined,
      ping: () => undefined,
      fence: async () => null,
      prepare: async () => null,
      takeOver: async () => null,
      ask: async () => null,
      close: () => undefined,
    }),
    openDoor: async (api) => {
      opened.resolve(api);
      return { close: async () => undefined };
    },
  });
  const witness = new Witness(member);
  const running = witness.run();
  onTestFinished(async () => {
    const closed = witness.close();
    await until(time, time.nowMs() + 1_000);
    await Promise.all([closed, running]);
  });
  const write = (register: Register): void => {
    known = register;
    tell(register);
  };
  return { api: await opened.promise, write };
}

/** What has begun goes on as far as it can first. */
async function until(time: VirtualTime, ms: number): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await time.settleUntil(ms);
}

test('a member runs on the clock, the network and the registers that it is given', async () => {
  const time = new VirtualTime();
  const { api, write } = await runWitness(time);
  write({ version: 9, value: stateOf() });
  await until(time, 300);
  expect(api.status()).toMatchObject({ version: 9, term: 3, hasLostLeader: false });
  const ping = { holder: n1, term: parseTerm(3), version: 10, supportMs: SUPPORT_MS };
  expect(api.answerPing(ping)).toBe(true);
  await until(time, 300 + SUPPORT_MS);
  expect(api.status().hasLostLeader).toBe(false);
  // Its promise lasts longer than the leader counts on, by the margin for drift.
  await until(time, 300 + SUPPORT_MS * 1.1 + 10);
  expect(api.status().hasLostLeader).toBe(true);
});

test('it fences for a candidate once it has lost the leader, and supports that version no more', async () => {
  const time = new VirtualTime();
  const { api, write } = await runWitness(time);
  write({ version: 9, value: stateOf() });
  await until(time, 300);
  const request = { version: 9, isSuspicion: true };
  expect(await api.fence(request)).toEqual({ kind: 'refused', reason: 'the leader was heard here' });
  await until(time, 3_000);
  expect(await api.fence(request)).toEqual({ kind: 'fenced', position: null });
  const ping = { holder: n1, term: parseTerm(3), version: 9, supportMs: SUPPORT_MS };
  expect(api.answerPing(ping)).toBe(false);
  expect(api.answerPing({ ...ping, version: 10 })).toBe(true);
});

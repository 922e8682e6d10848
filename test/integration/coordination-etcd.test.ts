import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Coordination, Register } from '../../src/coordination/contract.ts';
import { createEtcdCoordination } from '../../src/coordination/etcd/etcd.ts';
import { describeCoordination } from '../unit/coordination-conformance.ts';
import type { ConformanceCluster } from '../unit/coordination-conformance.ts';
import { ETCD, EtcdCluster, NEEDS_ETCD, newPrefix } from './etcd-cluster.ts';
import type { EtcdClusterOptions } from './etcd-cluster.ts';
import { freePort, until } from './fixture.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import { startLossyProxy } from './lossy-proxy.ts';

/** A busy machine must not turn an answer into "unknown". */
const PATIENT = { requestMs: 5_000, callMs: 20_000 };

describe.skipIf(ETCD === null)(NEEDS_ETCD, () => {
  describe.each<[string, EtcdClusterOptions]>([
    ['one member', {}],
    ['three members', { members: 3 }],
    ['one member with TLS, client certificates and passwords', { isSecure: true }],
  ])('with %s', (name, options) => {
    let etcd: EtcdCluster;
    beforeAll(async () => {
      etcd = await EtcdCluster.start(options);
    });
    afterAll(() => etcd[Symbol.asyncDispose]());
    describeCoordination(`etcd, ${name}`, async () => threeParticipants(etcd));
  });

  test('nothing is lost or done twice when a member is killed in the middle', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    const prefix = newPrefix();
    const writers = [0, 1, 2].map(() => etcd.participant({ prefix }));
    const told: Register[] = [];
    writers[0]!.watch('k', (register) => told.push(register));
    const chains = writers.map((writer, index) => appendUntilTold(writer, `w${index}`));
    await until('writes flow', () => chains.every((chain) => chain.done.length >= 10));
    await etcd.kill(await etcd.leader());
    const before = chains.map((chain) => chain.done.length);
    await until('writes flow again', () => chains.every(({ done }, i) => done.length >= before[i]! + 10));
    for (const chain of chains) chain.stop();
    await Promise.all(chains.map((chain) => chain.ended));
    const { version, value } = await writers[1]!.read('k');
    const list = value as string[];
    expect(new Set(list).size).toBe(list.length);
    expect(version).toBe(list.length);
    for (const chain of chains) expect(list).toEqual(expect.arrayContaining(chain.done));
    await until('the watch told the newest', () => told.at(-1)?.version === version);
    const versions = told.map((register) => register.version);
    expect(versions).toEqual([...new Set(versions)].sort((x, y) => x - y));
  });

  test('a suspended member costs a call one attempt, then another is asked', async () => {
    await using etcd = await EtcdCluster.start({ members: 3 });
    const follower = ((await etcd.leader()) + 1) % 3;
    const endpoints = [etcd.endpoints[follower]!, ...etcd.endpoints.filter((_, i) => i !== follower)];
    const timeouts = { requestMs: 2_000, callMs: 30_000 };
    const participant = etcd.participant({ prefix: newPrefix(), endpoints, timeouts });
    expect(await participant.compareAndSet('k', 0, 'x')).toMatchObject({ kind: 'applied' });
    etcd.pause(follower);
    const startedAt = performance.now();
    expect(await participant.read('k')).toEqual({ version: 1, value: 'x' });
    const withAnAttemptMs = performance.now() - startedAt;
    expect(withAnAttemptMs).toBeGreaterThan(1_900);
    const againAt = performance.now();
    expect(await participant.compareAndSet('k', 1, 'y')).toMatchObject({ kind: 'applied' });
    expect(performance.now() - againAt).toBeLessThan(withAnAttemptMs);
  });

  test('when all members are suspended each call ends in its time, and goes on when they wake', async () => {
    await using etcd = await EtcdCluster.start();
    const participant = etcd.participant({
      prefix: newPrefix(),
      timeouts: { requestMs: 200, callMs: 600 },
    });
    await participant.compareAndSet('k', 0, 'x');
    etcd.pause(0);
    const startedAt = performance.now();
    const [read, write] = await Promise.allSettled([
      participant.read('k'),
      participant.compareAndSet('k', 1, 'y'),
    ]);
    expect(performance.now() - startedAt).toBeGreaterThan(500);
    expect(read).toMatchObject({
      status: 'rejected',
      reason: { code: 'QUORUM_NOT_REACHED', retryable: true, outcome: 'not-applied' },
    });
    expect((read as PromiseRejectedResult).reason.message).toContain(etcd.endpoints[0]);
    expect(write).toMatchObject({ status: 'fulfilled', value: { kind: 'unknown' } });
    etcd.resume(0);
    // Whether it still reads what was sent while it slept or finds the connection closed: once, or never.
    await until('writes are taken again', async () => {
      const { version, value } = await participant.read('k').catch(() => ({ version: 0, value: null }));
      if (version === 0) return false;
      expect(value).toBe(version === 1 ? 'x' : 'y');
      return (await participant.compareAndSet('k', version, 'z')).kind === 'applied';
    });
  });

  test('a write whose answer was lost is known again when it is sent again', async () => {
    await using etcd = await EtcdCluster.start();
    await using proxy = await startLossyProxy(etcd.endpoints[0]!);
    const participant = etcd.participant({ prefix: newPrefix(), endpoints: [proxy.url] });
    let sent = 0;
    proxy.fate = ({ path }) => (path === '/v3/kv/txn' && ++sent % 2 === 1 ? 'lose-answer' : 'pass');
    for (let version = 0; version < 3; version++) {
      expect(await participant.compareAndSet('k', version, `v${version}`)).toEqual({
        kind: 'applied',
        register: { version: version + 1, value: `v${version}` },
      });
    }
    expect(sent).toBe(6);
    expect(await participant.read('k')).toEqual({ version: 3, value: 'v2' });
  });

  test('a write whose answer was lost, and that others have replaced since, is unknown', async () => {
    await using etcd = await EtcdCluster.start();
    await using proxy = await startLossyProxy(etcd.endpoints[0]!);
    const prefix = newPrefix();
    const participant = etcd.participant({ prefix, endpoints: [proxy.url] });
    const other = etcd.participant({ prefix });
    let isLost = false;
    proxy.fate = ({ path }) => {
      if (path !== '/v3/kv/txn' || isLost) return 'pass';
      isLost = true;
      return 'lose-answer';
    };
    proxy.afterLoss = async () => {
      expect(await other.compareAndSet('k', 1, 'other')).toMatchObject({ kind: 'applied' });
    };
    expect(await participant.compareAndSet('k', 0, 'mine')).toMatchObject({ kind: 'unknown' });
    expect(await participant.read('k')).toEqual({ version: 2, value: 'other' });
  });

  test('a write that lost to another on the same version is a conflict, also when an answer was lost', async () => {
    await using etcd = await EtcdCluster.start();
    await using proxy = await startLossyProxy(etcd.endpoints[0]!);
    const prefix = newPrefix();
    const participant = etcd.participant({ prefix, endpoints: [proxy.url] });
    await etcd.participant({ prefix }).compareAndSet('k', 0, 'other');
    let isLost = false;
    proxy.fate = ({ path }) => {
      if (path !== '/v3/kv/txn' || isLost) return 'pass';
      isLost = true;
      return 'lose-answer';
    };
    const result = await participant.compareAndSet('k', 0, 'mine');
    expect(isLost).toBe(true);
    expect(result).toEqual({ kind: 'conflict', current: { version: 1, value: 'other' } });
  });

  test('a release that only breaks the connection for a bad token gets a new one', async () => {
    // As etcd 3.4.23 and 3.5.22 as released do (etcd issues 15256 and 20332); Debian's 3.4.23 answers.
    await using etcd = await EtcdCluster.start();
    for (const command of ['user add root:pw', 'user grant-role root root', 'auth enable'])
      await etcd.etcdctl(0, ...command.split(' '));
    await using proxy = await startLossyProxy(etcd.endpoints[0]!);
    const tokens = new Set<string | undefined>();
    let refused: string | undefined;
    proxy.fate = ({ path, token }) => {
      if (path === '/v3/auth/authenticate') return 'pass';
      tokens.add(token);
      return token === undefined || token === refused ? 'break' : 'pass';
    };
    const participant = etcd.participant({
      prefix: newPrefix(),
      endpoints: [proxy.url],
      username: 'root',
      password: 'pw',
    });
    expect(await participant.compareAndSet('k', 0, 'x')).toMatchObject({ kind: 'applied' });
    [refused] = tokens;
    expect(await participant.compareAndSet('k', 1, 'y')).toMatchObject({ kind: 'applied' });
    const told: unknown[] = [];
    participant.watch('k', ({ value }) => told.push(value));
    await until('the watch began', () => told.length === 1);
    [, refused] = tokens;
    expect(await participant.read('k')).toMatchObject({ value: 'y' });
    expect(tokens.size).toBe(3);
  });

  test('a restart is gone through, by the watch too', async () => {
    await using etcd = await EtcdCluster.start({ isSecure: true });
    const prefix = newPrefix();
    const participant = etcd.participant({ prefix });
    await participant.compareAndSet('k', 0, 'x');
    const told: unknown[] = [];
    participant.watch('k', ({ value }) => told.push(value));
    await until('the watch began', () => told.length === 1);
    await etcd.kill(0);
    await expect(participant.read('k')).rejects.toMatchObject({ code: 'QUORUM_NOT_REACHED' });
    expect(await participant.compareAndSet('k', 1, 'lost')).toMatchObject({ kind: 'unknown' });
    await etcd.restart(0);
    // The token died with the process.
    expect(await participant.compareAndSet('k', 1, 'y')).toMatchObject({ kind: 'applied' });
    await until('the watch told it', () => told.at(-1) === 'y');
    expect(told).toEqual(['x', 'y']);
  });

  test('a token that ran out is renewed within the call', async () => {
    await using etcd = await EtcdCluster.start({ isSecure: true, tokenTtlSeconds: 1 });
    const participant = etcd.participant({ prefix: newPrefix() });
    await participant.compareAndSet('k', 0, 0);
    for (let version = 1; version < 3; version++) {
      const seen = (await etcd.log(0)).split('deleted').length;
      await until('etcd forgot the token', async () => (await etcd.log(0)).split('deleted').length > seen);
      const result = await participant.compareAndSet('k', version, version);
      expect(result).toMatchObject({ kind: 'applied', register: { version: version + 1 } });
    }
  });

  test('who is refused is told why, without the secret', async () => {
    await using etcd = await EtcdCluster.start({ isSecure: true });
    const password = 'hunter2-never-to-be-seen';
    // A server that checks a password needs much of a processor for it.
    const timeouts = { requestMs: 10_000, callMs: 30_000 };
    const errors = await Promise.all([
      etcd.participant({ prefix: newPrefix(), timeouts, password }).read('k').catch(text),
      etcd.participant({ prefix: newPrefix(), timeouts, username: 'app', password }).read('k').catch(text),
      etcd.participant({ prefix: '/elsewhere/', timeouts }).read('k').catch(text),
      etcd.participant({ prefix: newPrefix(), timeouts, username: undefined }).read('k').catch(text),
      etcd
        .participant({ prefix: newPrefix(), tls: { ca: '/nowhere.pem' } })
        .read('k')
        .catch(text),
    ]);
    expect(errors[0]).toMatch(/^CONFIG_INVALID .*authentication failed.*"coordination"/);
    expect(errors[1]).toMatch(/^CONFIG_INVALID .*authentication failed/);
    expect(errors[2]).toMatch(/^CONFIG_INVALID .*permission denied.*readwrite/);
    expect(errors[3]).toMatch(/^CONFIG_INVALID .*who gives no username: .*(is empty|denied)/);
    expect(errors[4]).toMatch(/^CONFIG_INVALID .*\/nowhere\.pem.*ENOENT.*"coordination\.tls"/);
    expect(errors.join()).not.toContain(password);
    // A refused handshake is no reason to end an agent: certificates may be renewed.
    const withoutCertificate = etcd.participant({
      prefix: newPrefix(),
      tls: { ca: etcd.certificates!.ca },
      timeouts: { callMs: 3_000 },
    });
    expect(await withoutCertificate.read('k').catch(text)).toMatch(/^QUORUM_NOT_REACHED .*certificate/);
    const wrongAuthority = etcd.participant({ prefix: newPrefix(), tls: {}, timeouts: { callMs: 3_000 } });
    expect(await wrongAuthority.read('k').catch(text)).toMatch(/^QUORUM_NOT_REACHED .*certificate/);
  });

  test('a member that refuses, and a port where nothing listens, are passed over', async () => {
    await using etcd = await EtcdCluster.start();
    const closed = `http://127.0.0.1:${await freePort()}`;
    const participant = etcd.participant({
      prefix: newPrefix(),
      endpoints: [closed, 'http://no-such-host.invalid:2379', ...etcd.endpoints],
    });
    expect(await participant.compareAndSet('k', 0, 'x')).toMatchObject({ kind: 'applied' });
    expect(await participant.read('k')).toEqual({ version: 1, value: 'x' });
  });

  test('members of two etcd clusters are refused: they could name two leaders', async () => {
    await using one = await EtcdCluster.start();
    await using other = await EtcdCluster.start();
    const endpoints = [...one.endpoints, ...other.endpoints];
    const prefix = newPrefix();
    const participant = one.participant({ prefix, endpoints });
    const error = await participant.compareAndSet('k', 0, 'x').catch(text);
    expect(error).toMatch(/^CONFIG_INVALID .*different etcd clusters/);
    for (const endpoint of endpoints) expect(error).toContain(endpoint);
    for (const cluster of [one, other])
      expect(await cluster.participant({ prefix }).read('k')).toMatchObject({ version: 0 });
    // Also when the second one is only found later.
    await other.kill(0);
    const late = one.participant({ prefix, endpoints });
    expect(await late.compareAndSet('k', 0, 'x')).toMatchObject({ kind: 'applied' });
    await other.restart(0);
    await one.kill(0);
    await expect(late.compareAndSet('k', 1, 'y')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await other.participant({ prefix }).read('k')).toMatchObject({ version: 0 });
  });

  test('a register that was deleted, or made anew up to the same version, is noticed', async () => {
    await using etcd = await EtcdCluster.start();
    const prefix = newPrefix();
    const participant = etcd.participant({ prefix });
    await participant.compareAndSet('k', 0, 'x');
    await participant.compareAndSet('k', 1, 'y');
    await etcd.etcdctl(0, 'del', `${prefix}k`);
    expect(await participant.read('k').catch(text)).toMatch(/^CONFIG_INVALID .*from version 2 to 0/);
    const newcomer = etcd.participant({ prefix });
    await newcomer.compareAndSet('k', 0, 'other');
    await newcomer.compareAndSet('k', 1, 'life');
    await expect(participant.compareAndSet('k', 2, 'z')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await newcomer.read('k')).toEqual({ version: 2, value: 'life' });
    await etcd.etcdctl(0, 'put', `${prefix}k`, 'scribbled');
    expect(await newcomer.read('k').catch(text)).toMatch(/^CONFIG_INVALID .*Lockstep did not write/);
  });

  test('what is no etcd is named as such', async () => {
    await using etcd = await EtcdCluster.start();
    // etcd's own server, but below a path where no gateway is: what an old or reduced etcd looks like.
    const participant = createEtcdCoordination({
      clock: systemClock,
      endpoints: [`${etcd.endpoints[0]}/elsewhere`],
      prefix: newPrefix(),
    });
    expect(await participant.read('k').catch(text)).toMatch(/^CONFIG_INVALID .*404.*JSON gateway/);
    await participant.close();
  });

  test('close ends calls and watches under way', async () => {
    await using etcd = await EtcdCluster.start();
    const participant = etcd.participant({ prefix: newPrefix(), timeouts: { callMs: 60_000 } });
    await participant.compareAndSet('k', 0, 'x');
    const told: unknown[] = [];
    participant.watch('k', ({ value }) => told.push(value));
    await until('the watch began', () => told.length === 1);
    etcd.pause(0);
    const calls = [participant.read('k').catch(text), participant.compareAndSet('k', 1, 'y')];
    await participant.close();
    expect(await Promise.all(calls)).toEqual([
      expect.stringMatching(/^QUORUM_NOT_REACHED .*closed/),
      { kind: 'unknown', reason: expect.stringContaining('closed') },
    ]);
  });
});

function text(error: unknown): string {
  const { code, message } = error as { code: string; message: string };
  return `${code} ${message}`;
}

function threeParticipants(etcd: EtcdCluster): ConformanceCluster {
  const prefix = newPrefix();
  const [a, b, c] = [0, 1, 2].map(() => etcd.participant({ prefix, timeouts: PATIENT }));
  const participants: ConformanceCluster['participants'] = [a!, b!, c!];
  return {
    participants,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(participants.map((participant) => participant.close()));
    },
  };
}

/** Adds names to the register's list one after the other, each until it was told to be there. */
function appendUntilTold(
  coordination: Coordination,
  name: string,
): { readonly done: string[]; readonly ended: Promise<void>; stop(): void } {
  const done: string[] = [];
  let isStopped = false;
  const run = async (): Promise<void> => {
    for (let count = 0; !isStopped; count++) {
      const id = `${name}-${count}`;
      for (let isAdded = false; !isAdded;) {
        const { version, value } = await coordination.read('k').catch(() => ({ version: -1, value: [] }));
        if (version < 0) continue;
        const list = (value ?? []) as string[];
        if (list.includes(id)) break;
        isAdded = (await coordination.compareAndSet('k', version, [...list, id])).kind === 'applied';
      }
      done.push(id);
    }
  };
  return { done, ended: run(), stop: () => (isStopped = true) };
}

import { expect, onTestFinished, test } from 'vitest';
import { LeadershipRegister } from '../../src/leader-follower/leadership/leadership.ts';
import { MemoryCluster, VOTERS } from './coordination-cluster.ts';
import { n1, n2, n3 } from './decide-views.ts';

/** A leader that is held up by everybody. */
async function lead(): Promise<{ register: LeadershipRegister; cluster: MemoryCluster }> {
  const cluster = new MemoryCluster({ messageTimeoutMs: 30, callTimeoutMs: 100 });
  const register = new LeadershipRegister({
    self: n1,
    ttlMs: 60_000,
    supportMs: 5,
    coordination: cluster.participants[0],
    support: () => ({ untilMs: Number.POSITIVE_INFINITY, failsafeUntilMs: Number.POSITIVE_INFINITY }),
    onDeadlines: () => undefined,
    onTaking: () => undefined,
    onWon: () => undefined,
    onDeposed: () => undefined,
    onNewLeader: () => undefined,
  });
  onTestFinished(async () => {
    register.drop();
    await cluster[Symbol.asyncDispose]();
  });
  expect(await register.found({ required: 1, members: [] })).toBe(true);
  return { register, cluster };
}

test('voters that are to come are counted until the change is known to be written', async () => {
  const { register } = await lead();
  const coming = (await register.addComingVoters([n1, n2]))!;
  expect(register.comingVoters).toEqual([n1, n2]);
  expect(await register.addComingVoters([n1, n3])).toBeNull();
  expect(await register.changeVoters(coming, (state) => ({ ...state, votersEpoch: 1 }))).toBe(true);
  expect(register.known.state?.votersEpoch).toBe(1);
  expect(register.comingVoters).toBeNull();
});

test('they stay counted while the outcome is unknown, until a newer version is', async () => {
  const { register, cluster } = await lead();
  const coming = (await register.addComingVoters([n1, n2]))!;
  for (const voter of VOTERS.slice(1)) cluster.silence(voter);
  expect(await register.changeVoters(coming, (state) => ({ ...state, votersEpoch: 1 }))).toBe(false);
  register.dropComingVoters(coming);
  expect(register.comingVoters).toEqual([n1, n2]);
  for (const voter of VOTERS.slice(1)) cluster.wake(voter);
  await register.update((state) => state);
  await register.refresh();
  expect(register.comingVoters).toBeNull();
});

test('a change that ends late takes back its own voters, not those of the next one', async () => {
  const { register } = await lead();
  const first = (await register.addComingVoters([n1, n2]))!;
  register.dropComingVoters(first);
  const second = (await register.addComingVoters([n1, n3]))!;
  register.dropComingVoters(first);
  expect(register.comingVoters).toEqual([n1, n3]);
  // Nor is the first one written after all: nobody counts its voters.
  expect(await register.changeVoters(first, (state) => ({ ...state, votersEpoch: 9 }))).toBe(false);
  expect(register.known.state?.votersEpoch).toBeUndefined();
  expect(await register.changeVoters(second, (state) => ({ ...state, votersEpoch: 1 }))).toBe(true);
});

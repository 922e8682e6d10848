import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { VotersToCome } from '../../src/leader-follower/leadership/coming-voters.ts';
import { LeadershipHold } from '../../src/leader-follower/leadership/leadership-hold.ts';
import { RegisterReader } from '../../src/leader-follower/leadership/register-reader.ts';
import { MemoryCluster, VOTERS } from './coordination-cluster.ts';
import { n1, n2, n3 } from './decide-views.ts';

interface Leader {
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly votersToCome: VotersToCome;
  readonly cluster: MemoryCluster;
}

/** A leader that is held up by everybody. */
async function lead(): Promise<Leader> {
  const cluster = new MemoryCluster({ messageTimeoutMs: 30, callTimeoutMs: 100 });
  const coordination = cluster.participants[0];
  const register = new RegisterReader(coordination, systemClock);
  const votersToCome = new VotersToCome(register);
  const hold = new LeadershipHold({
    self: n1,
    ttlMs: 60_000,
    supportMs: 5,
    coordination,
    register,
    votersToCome,
    support: {
      untilMs: Number.POSITIVE_INFINITY,
      failsafeUntilMs: Number.POSITIVE_INFINITY,
      forget: () => undefined,
    },
    server: { setDeadlines: () => undefined },
    clock: systemClock,
  });
  onTestFinished(async () => {
    hold.drop();
    await cluster[Symbol.asyncDispose]();
  });
  expect(await hold.found({ required: 1, members: [] })).toBe(true);
  return { register, hold, votersToCome, cluster };
}

test('voters that are to come are counted until the change is known to be written', async () => {
  const { register, hold, votersToCome } = await lead();
  const coming = (await hold.addComingVoters([n1, n2]))!;
  expect(votersToCome.names).toEqual([n1, n2]);
  expect(await hold.addComingVoters([n1, n3])).toBeNull();
  expect(await hold.changeVoters(coming, (state) => ({ ...state, votersEpoch: 1 }))).toBe(true);
  expect(register.known.state?.votersEpoch).toBe(1);
  expect(votersToCome.names).toBeNull();
});

test('they stay counted while the outcome is unknown, until a newer version is', async () => {
  const { register, hold, votersToCome, cluster } = await lead();
  const coming = (await hold.addComingVoters([n1, n2]))!;
  for (const voter of VOTERS.slice(1)) cluster.silence(voter);
  expect(await hold.changeVoters(coming, (state) => ({ ...state, votersEpoch: 1 }))).toBe(false);
  votersToCome.drop(coming);
  expect(votersToCome.names).toEqual([n1, n2]);
  for (const voter of VOTERS.slice(1)) cluster.wake(voter);
  await hold.update((state) => state);
  await register.refresh();
  expect(votersToCome.names).toBeNull();
});

test('a change that ends late takes back its own voters, not those of the next one', async () => {
  const { register, hold, votersToCome } = await lead();
  const first = (await hold.addComingVoters([n1, n2]))!;
  votersToCome.drop(first);
  const second = (await hold.addComingVoters([n1, n3]))!;
  votersToCome.drop(first);
  expect(votersToCome.names).toEqual([n1, n3]);
  // Nor is the first one written after all: nobody counts its voters.
  expect(await hold.changeVoters(first, (state) => ({ ...state, votersEpoch: 9 }))).toBe(false);
  expect(register.known.state?.votersEpoch).toBeUndefined();
  expect(await hold.changeVoters(second, (state) => ({ ...state, votersEpoch: 1 }))).toBe(true);
});

import { expect, test } from 'vitest';
import { LeaderDuties } from '../../src/leader-follower/duties/leader-duty.ts';
import type { LeaderDuty } from '../../src/leader-follower/duties/leader-duty.ts';
import { LEADER_PROBE } from './leader-probe.ts';

/** Writes down what it is called for; `failsAt` is what it fails at. */
function duty(name: string, calls: string[], failsAt = ''): LeaderDuty {
  const call = async (what: string): Promise<void> => {
    calls.push(`${name} ${what}`);
    if (what === failsAt) throw new Error(`${name} failed`);
  };
  return {
    start: ({ standbyNames }) => call(`start${standbyNames}`),
    step: () => call('step'),
    stop: () => void calls.push(`${name} stop`),
  };
}

test('duties begin with a leadership, have a turn each round, and end once', async () => {
  const calls: string[] = [];
  const duties = new LeaderDuties([duty('a', calls), duty('b', calls)]);
  duties.stop();
  await duties.start({ standbyNames: ' ANY 1 (n2)' });
  await duties.step(LEADER_PROBE);
  duties.stop();
  duties.stop();
  expect(calls).toEqual(['a start ANY 1 (n2)', 'b start ANY 1 (n2)', 'a step', 'b step', 'a stop', 'b stop']);
});

test('one that fails keeps no other from its turn, and the failure is told', async () => {
  const calls: string[] = [];
  const duties = new LeaderDuties([duty('a', calls, 'start'), duty('b', calls, 'step')]);
  await expect(duties.start({ standbyNames: '' })).rejects.toThrow('a failed');
  await expect(duties.step(LEADER_PROBE)).rejects.toThrow('b failed');
  expect(calls).toEqual(['a start', 'b start', 'a step', 'b step']);
});

test('a leadership that never began, or begins anew, starts them from nothing', async () => {
  const calls: string[] = [];
  const duties = new LeaderDuties([duty('a', calls)]);
  await duties.step(LEADER_PROBE);
  await duties.start({ standbyNames: '' });
  expect(calls).toEqual(['a start', 'a step', 'a stop', 'a start']);
});

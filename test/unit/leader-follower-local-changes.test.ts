import { expect, test } from 'vitest';
import { LocalChanges } from '../../src/leader-follower/local/local-changes.ts';

test('tells why PostgreSQL is down, also while it is tried again, until it runs', async () => {
  let isRunning = false;
  const changes = new LocalChanges(() => isRunning);
  const failed = changes.run('starting', null, () => Promise.reject(new Error('no space left on device')));
  await expect(failed).rejects.toThrow('no space');
  expect(changes.activity).toEqual({ state: 'stopped', detail: 'no space left on device' });
  let meanwhile: unknown = null;
  await changes.run('starting', null, () => {
    meanwhile = changes.activity;
    isRunning = true;
    return Promise.resolve();
  });
  expect(meanwhile).toEqual({ state: 'starting', detail: 'no space left on device' });
  expect(changes.activity).toEqual({ state: 'running', detail: null });
  isRunning = false;
  await changes.run('starting', null, () => Promise.resolve());
  expect(changes.activity).toEqual({ state: 'stopped', detail: null });
});

test('what was given up on purpose is no failure', async () => {
  const changes = new LocalChanges(() => false);
  const aborted = new DOMException('this operation was aborted', 'AbortError');
  await expect(changes.run('rejoining', 'cloning', () => Promise.reject(aborted))).rejects.toThrow('aborted');
  expect(changes.activity).toEqual({ state: 'stopped', detail: null });
});

import { expect, test } from 'vitest';
import { lackOfRoom } from '../../src/leader-follower/local/core/room-alarm.ts';
import { LocalChanges } from '../../src/leader-follower/local/local-changes.ts';

test('tells why PostgreSQL is down, also while it is tried again, until it runs', async () => {
  const server = { isRunning: false };
  const changes = new LocalChanges({ dataDir: '/pg', server });
  const failed = changes.run('starting', null, () => Promise.reject(new Error('it broke')));
  await expect(failed).rejects.toThrow('it broke');
  expect(changes.activity).toEqual({ state: 'stopped', detail: 'it broke' });
  let meanwhile: unknown = null;
  await changes.run('starting', null, () => {
    meanwhile = changes.activity;
    server.isRunning = true;
    return Promise.resolve();
  });
  expect(meanwhile).toEqual({ state: 'starting', detail: 'it broke' });
  expect(changes.activity).toEqual({ state: 'running', detail: null });
  server.isRunning = false;
  await changes.run('starting', null, () => Promise.resolve());
  expect(changes.activity).toEqual({ state: 'stopped', detail: null });
});

test('what was given up on purpose is no failure', async () => {
  const changes = new LocalChanges({ dataDir: '/pg', server: { isRunning: false } });
  const aborted = new DOMException('this operation was aborted', 'AbortError');
  await expect(changes.run('rejoining', 'cloning', () => Promise.reject(aborted))).rejects.toThrow('aborted');
  expect(changes.activity).toEqual({ state: 'stopped', detail: null });
});

test('what a full disk needs comes before how it was met', async () => {
  const changes = new LocalChanges({ dataDir: '/pg', server: { isRunning: false } });
  const full = new Error('ENOSPC: no space left on device, write');
  const said = new Error(
    'PostgreSQL in /pg did not start: FATAL: could not write file: No space left on device',
  );
  for (const error of [full, said]) {
    await expect(changes.run('starting', null, () => Promise.reject(error))).rejects.toThrow(error);
    expect(changes.activity.detail).toBe(`free some space on the disk of /pg: ${error.message}`);
  }
  changes.ended('PANIC: could not write to file "pg_wal/xlogtemp.7": No space left on device');
  expect(changes.activity.detail).toMatch(/^free some space on the disk of \/pg: PANIC/);
  expect(lackOfRoom('/pg', 12_900_000)).toMatch(/^free some space on the disk of \/pg: 12 MB are left/);
  expect([lackOfRoom('/pg', 64 * 1_048_576), lackOfRoom('/pg', null)]).toEqual([null, null]);
});

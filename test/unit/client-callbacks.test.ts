import { afterEach, beforeEach, expect, it } from 'vitest';
import { settleCallback } from '../../src/client/statement/queryable.ts';

let listeners: NodeJS.UncaughtExceptionListener[] = [];

beforeEach(() => {
  listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
});

afterEach(() => {
  for (const listener of listeners) process.on('uncaughtException', listener);
});

it.each([
  ['an answer', () => Promise.resolve(7)],
  ['an error', () => Promise.reject(new Error('of the server'))],
])('what a callback throws at %s is an uncaught exception, as in pg', async (_name, answer) => {
  const thrown = new Error('of the app');
  const caught = new Promise((resolve) =>
    process.once('uncaughtException', (error, origin) => resolve([error, origin])),
  );
  settleCallback(answer(), () => {
    throw thrown;
  });
  expect(await caught).toEqual([thrown, 'uncaughtException']);
});

it('tells the result as second argument, and an error as first', async () => {
  const error = new Error('of the server');
  const told = (answer: Promise<number>): Promise<unknown[]> =>
    new Promise((resolve) => settleCallback(answer, (...args) => resolve(args)));
  expect(await told(Promise.resolve(7))).toEqual([undefined, 7]);
  expect(await told(Promise.reject(error))).toEqual([error]);
});

import type { Clock } from '../model/clock.ts';

/** Rejects when the answer does not come in time; whoever gives it is not told. */
export function within<T>(clock: Clock, timeoutMs: number, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const callOff = clock.after(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
    answer.then(resolve, reject).finally(callOff);
  });
}

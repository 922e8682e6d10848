import type { Clock } from '../model/clock.ts';

/** Runs again and again, the first time after `ms`. Returns what ends it. */
export function every(clock: Clock, ms: number, run: () => void): () => void {
  let callOff = (): void => undefined;
  const next = (): void => {
    callOff = clock.after(ms, () => {
      next();
      run();
    });
  };
  next();
  return () => callOff();
}

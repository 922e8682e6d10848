import type { Clock } from '../model/clock.ts';

/** Runs again and again, the first time after `firstMs`, by default `ms`. Returns what ends it. */
export function every(clock: Clock, ms: number, run: () => void, firstMs: number = ms): () => void {
  let callOff = (): void => undefined;
  const next = (waitMs: number): void => {
    callOff = clock.after(waitMs, () => {
      next(ms);
      run();
    });
  };
  next(firstMs);
  return () => callOff();
}

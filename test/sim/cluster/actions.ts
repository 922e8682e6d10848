import type { Action } from '../../../src/leader-follower/core/action.ts';

/** Done round after round while nothing happens. */
export function isRoutine({ kind }: Action): boolean {
  return kind === 'lead' || kind === 'keep-slots';
}

/** For a transcript. */
export function describe(action: Action): string {
  const { kind, ...rest } = action;
  return [kind, ...Object.entries(rest).map(([name, value]) => `${name}=${String(value)}`)].join(' ');
}

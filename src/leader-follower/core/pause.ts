import type { Action } from './action.ts';

/** Between two rounds of a member for which nothing happens. */
export const TICK_MS = 250;
const END_HIDDEN_MS = 50;

/** Whether a round changed nothing that the others should hear of at once. */
export function isSteady(actions: readonly Action[]): boolean {
  return actions.every(({ kind }) => kind === 'lead' || kind === 'keep-slots');
}

/** How long to wait after a round. `isEndHidden`: where its own log ends is not to be seen yet, which is soon over. */
export function pauseAfter(actions: readonly Action[], isEndHidden: boolean): number {
  if (actions.length === 0 && isEndHidden) return END_HIDDEN_MS;
  if (isSteady(actions)) return TICK_MS;
  // It takes a while to arrive; its leader needs the processor more than it needs another look.
  if (actions.every(({ kind }) => kind === 'follow')) return TICK_MS;
  return actions.some((action) => action.kind === 'campaign') ? TICK_MS / 2 : 0;
}

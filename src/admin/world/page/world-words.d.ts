import type { WorldConflict, WorldPicture } from '../world.ts';

/** By decision, what became of the two; of the command `lockstep regions conflicts` too. */
export declare const DECISIONS: Readonly<
  Record<
    | 'merged'
    | 'later-wins'
    | 'same'
    | 'resolved'
    | 'parked'
    | 'region-priority'
    | 'parent-restored'
    | 'orphan-deleted',
    string
  >
>;

export function describeWorld(world: WorldPicture): string;
export function pairsOf(
  world: WorldPicture,
): { readonly a: string; readonly b: string; readonly state: string }[];
export function describeConflict(conflict: WorldConflict): {
  readonly title: string;
  readonly lines: string[];
};

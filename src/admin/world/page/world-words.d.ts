import type { WorldConflict, WorldPicture } from '../world.ts';

export function describeWorld(world: WorldPicture): string;
export function pairsOf(
  world: WorldPicture,
): { readonly a: string; readonly b: string; readonly state: string }[];
export function describeConflict(conflict: WorldConflict): {
  readonly title: string;
  readonly lines: string[];
};

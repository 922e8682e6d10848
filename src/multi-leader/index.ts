/** `lockstep/multi-leader`: one writable leader a region, and they always agree in the end. */
export { defineRegions } from './definition.ts';
export type { RegionsDefinition } from './definition.ts';
export { Region } from './region.ts';
export type { RegionOptions, RegionStatus } from './region.ts';
export type { LinkState, LinkStatus } from './apply/link.ts';
export { LockstepError } from '../model/errors.ts';

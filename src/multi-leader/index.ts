/** `lockstep/multi-leader`: one writable leader a region, and they always agree in the end. */
export {
  counter,
  defineRegions,
  escrow,
  lastWriteWins,
  max,
  min,
  regionPriority,
  set,
} from './definition.ts';
export type { ColumnMerge, RegionsDefinition, TableRules } from './definition.ts';
export type { ColumnRule } from './core/merge.ts';
export type { OrphanRule } from './core/orphan-rule.ts';
export { Region } from './region.ts';
export type { RegionOptions, RegionStatus } from './region.ts';
export type { LinkState, LinkStatus } from './apply/link.ts';
export { LockstepError } from '../model/errors.ts';

/** `lockstep/multi-leader`: one writable leader a region, and they always agree in the end. */
export { counter, escrow, lastWriteWins, max, min, regionPriority, set } from './column-rules.ts';
export type { ColumnMerge, TableRules } from './column-rules.ts';
export { defineRegions } from './definition.ts';
export type { RegionsDefinition } from './definition.ts';
export { resolve } from './resolve/row-conflict.ts';
export type { RowConflict, RowDecision, SelectedRow, TableResolver } from './resolve/row-conflict.ts';
export type { ColumnRule } from './core/merge.ts';
export type { OrphanRule } from './core/orphan-rule.ts';
export { Region } from './region.ts';
export type { RegionOptions, RegionStatus } from './region.ts';
export type { LinkState, LinkStatus } from './apply/link.ts';
export { LockstepError } from '../model/errors.ts';

/** `lockstep/leaderless`: collections on independent PostgreSQL servers. */
export { quorum, type Quorum, type QuorumNodeStatus, type QuorumStatus } from './quorum.ts';
export type { QuorumNode, QuorumOptions } from './options.ts';
export { lww, type LwwCollection } from './collections/lww.ts';
export { map, type MapCollection } from './collections/map.ts';
export {
  cart,
  type AddOptions,
  type CartCollection,
  type CartOperation,
  type CartWritten,
} from './collections/cart.ts';
export {
  cas,
  type CasCollection,
  type CasOperation,
  type CasOptions,
  type CasResult,
} from './collections/cas.ts';
export type { Got, Kind, ReadOptions, StandardSchema, WriteOptions, Written } from './collections/kind.ts';
export type { CartLine, Sku } from './core/cart.ts';
export type { ReadLevel, WriteLevel } from './core/levels.ts';
export { LockstepError, type ErrorCode, type Outcome } from '../model/errors.ts';

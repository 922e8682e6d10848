/** `lockstep/leaderless`: collections on independent PostgreSQL servers. */
export { quorum, type Quorum, type QuorumNodeStatus, type QuorumStatus } from './quorum.ts';
export type { QuorumNode, QuorumOptions } from './options.ts';
export { lww, type LwwCollection } from './collections/lww.ts';
export {
  siblings,
  type GotSiblings,
  type ReplaceOptions,
  type SiblingsCollection,
  type SiblingsContext,
} from './collections/siblings.ts';
export { map, type FieldSchemas, type MapCollection } from './collections/map.ts';
export { set, type SetCollection } from './collections/set.ts';
export { counter, type CounterCollection } from './collections/counter.ts';
export { cart, type CartCollection } from './collections/cart.ts';
export type { AddOperation, AddOptions, TalliesWritten } from './collections/tallies.ts';
export {
  cas,
  type CasCollection,
  type CasGot,
  type CasOperation,
  type CasOptions,
  type CasResult,
} from './collections/cas.ts';
export type { Entry, ScanOptions } from './collections/readable.ts';
export type { WatchOptions } from './collections/watch.ts';
export type { LifeOptions, Ttl, TtlOptions } from './collections/ttl.ts';
export type {
  Got,
  Kind,
  NoOptions,
  ReadOptions,
  StandardSchema,
  WriteOptions,
  Written,
} from './collections/kind.ts';
export type { CartLine, Sku } from './core/cart.ts';
export type { ReadLevel, WriteLevel } from './core/levels.ts';
export { LockstepError, type ErrorCode, type Outcome } from '../model/errors.ts';

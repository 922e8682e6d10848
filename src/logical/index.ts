/** `lockstep/changes`: what a database commits, as it commits it. */
export { changes } from './changes.ts';
export type { ChangesOptions, Transaction } from './changes.ts';
export { ChangeStream } from './change-stream.ts';
export type { ChangeStreamOptions } from './change-stream.ts';
export { createSlot, dropSlot } from './slots.ts';
export type { CreatedSlot, SlotOptions } from './slots.ts';
export type {
  Change,
  MessageChange,
  RowChange,
  TransactionHead,
  TransactionOrigin,
  TransactionPart,
  TruncateChange,
} from './core/change.ts';
export type { Relation, RelationColumn, ReplicaIdentity } from './core/relation.ts';
export type { Row } from './core/tuple.ts';
export { formatLsn, parseLsn } from '../model/lsn.ts';
export type { Lsn } from '../model/lsn.ts';
export { LockstepError } from '../model/errors.ts';

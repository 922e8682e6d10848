import { LockstepError } from '../../model/errors.ts';
import type { Relation } from '../core/relation.ts';

/** The target does not fit the source's tables; somebody must change it. It is tried again until it fits. */
export class MisfitError extends LockstepError {
  constructor(sentence: string, cause?: unknown) {
    super('SCHEMA_MISFIT', sentence, { retryable: true, cause });
  }
}

/** A value cannot travel in binary format: the stream must be read again as text. */
export class TextOnlyError extends Error {}

/** A table came that was not copied: the publication has grown. */
export class UnknownTableError extends Error {
  readonly relation: Relation;

  constructor(relation: Relation) {
    super(`table ${relation.schema}.${relation.name} was not copied`);
    this.relation = relation;
  }
}

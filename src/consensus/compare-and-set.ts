import type { VersionedValue } from './acceptor.ts';
import type { Change } from './proposer.ts';

/** A write of `value` as version `expectedVersion + 1`, named by a unique `operation`. */
export interface CompareAndSet {
  readonly expectedVersion: number;
  readonly value: unknown;
  readonly operation: string;
}

/** The change function of the write: itself when the version fits, else the current value unchanged. */
export function changeOf(write: CompareAndSet): Change {
  return (current) =>
    current.version === write.expectedVersion
      ? { version: write.expectedVersion + 1, value: write.value, operation: write.operation }
      : current;
}

export type CompareAndSetOutcome = 'applied' | 'conflict' | 'unknown';

/**
 * What a committed round says of the write. `wasProposedBefore`: an earlier round of this write sent it to
 * acceptors and did not see a quorum, so that it may have been chosen and already replaced by others.
 */
export function judgeCompareAndSet(
  write: CompareAndSet,
  committed: VersionedValue,
  wasProposedBefore: boolean,
): CompareAndSetOutcome {
  if (committed.version === write.expectedVersion + 1) {
    // Built on the same version by someone else: then this write was never chosen and never will be,
    // because the committed round's promises bar its ballots.
    return committed.operation === write.operation ? 'applied' : 'conflict';
  }
  return wasProposedBefore && committed.version > write.expectedVersion ? 'unknown' : 'conflict';
}

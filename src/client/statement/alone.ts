import { aloneInTransaction, listensAlone } from '../app/failures.ts';
import { controlsTransaction } from '../classify/core/classify.ts';
import type { Classification } from '../classify/core/classify.ts';

/** Throws CONFIG_INVALID for a statement that would have no effect alone, on a connection that is no one's afterwards. */
export function refuseAlone(classification: Pick<Classification, 'kind' | 'form'>): void {
  if (controlsTransaction(classification)) throw aloneInTransaction();
  if (classification.form === 'listen') throw listensAlone();
}

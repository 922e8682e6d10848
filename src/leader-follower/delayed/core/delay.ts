import { parseDuration } from '../../../model/duration.ts';
import { LockstepError } from '../../../model/errors.ts';

const MIN_MS = 1_000;
/** PostgreSQL's recovery_min_apply_delay counts milliseconds in 31 bits. */
export const MAX_DELAY_MS = 2_147_483_647;

/** A node's delay in milliseconds. Throws CONFIG_INVALID for what is no duration, or none that a node can have. */
export function checkDelay(text: string): number {
  const ms = parseDuration(text, 'the delay');
  if (ms >= MIN_MS && ms <= MAX_DELAY_MS) return ms;
  throw new LockstepError('CONFIG_INVALID', `A delay of ${text} is not possible; give one from 1s to 24d.`, {
    details: { text },
  });
}

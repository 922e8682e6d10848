import { LockstepError } from '../../model/errors.ts';

/** Throws CONFIG_INVALID for what is neither left out nor a whole number from `least`. */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= least)) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"${name}" is ${typeof value === 'string' ? `the text "${String(value)}"` : String(value)}; expected a whole number from ${least}.`,
    {
      details: { name, value },
    },
  );
}

/** Throws CONFIG_INVALID for what is not a length of time. */
export function checkStaleness(maxStalenessMs: number | undefined): void {
  if (isStaleness(maxStalenessMs)) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"maxStalenessMs" is ${String(maxStalenessMs)}; expected milliseconds from 0.`,
    { details: { maxStalenessMs } },
  );
}

export function isStaleness(maxStalenessMs: number | undefined): boolean {
  return maxStalenessMs === undefined || (Number.isFinite(maxStalenessMs) && maxStalenessMs >= 0);
}

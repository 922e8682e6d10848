import { LockstepError } from '../../model/errors.ts';
import { nearestName } from '../../model/nearest-name.ts';

/** The error for a name that is not known, with the nearest one that is. */
export function unknownName(what: string, name: string, known: readonly string[]): LockstepError {
  const near = nearestName(name, known);
  const remedy = near === undefined ? 'see docs/client.md for all of them.' : `did you mean "${near}"?`;
  return new LockstepError('CONFIG_INVALID', `"${name}" is not a known ${what}; ${remedy}`, {
    details: { name },
  });
}

/** Throws CONFIG_INVALID for an option that is none of these, which would be left out without a word. */
export function refuseUnknownNames(of: string, options: object, known: readonly string[]): void {
  const name = Object.keys(options).find((given) => !known.includes(given));
  if (name !== undefined) throw unknownName(`option of ${of}`, name, known);
}

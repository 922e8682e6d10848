import { LockstepError } from '../../model/errors.ts';
import type { FlightFailure } from '../../wire/raw/pipeline.ts';
import { classifyFailure } from './core/sqlstate.ts';
import { isMovedByOthers } from './session.ts';
import { MisfitError } from './trouble.ts';

/** Whether one transaction's data is to blame, so that those around it may still be applied. */
export function isAboutData({ error, at }: FlightFailure): boolean {
  if (at < 0 || isMovedByOthers(error)) return false;
  return classifyFailure((error as { code?: string }).code) === 'data';
}

/** What is thrown for a failure that is not about one transaction's data. */
export function explain(error: Error, about?: string): Error {
  if (isMovedByOthers(error)) {
    return new LockstepError(
      'FENCED',
      'Another process works on this follow, and has moved it on; let only one of them run.',
      { cause: error },
    );
  }
  const code = (error as { code?: string }).code;
  if (classifyFailure(code) !== 'schema' && about === undefined) return error;
  return new MisfitError(
    `${about === undefined ? '' : `Of ${about}: `}${error.message} (SQLSTATE ${code}).`,
    error,
  );
}

import { LockstepError } from '../../model/errors.ts';

const AUTHORITY = /^[a-z]+:\/\/(?:[^/?#]*@)?([^/?#]*)/i;

/** The parameters of a connection string, where pg finds them too: a value may have a ? of its own, and a # ends them. */
export function parametersOf(url: string): URLSearchParams {
  const [whole = ''] = url.split('#', 1);
  const at = whole.indexOf('?');
  // With its ?, which is taken off: without, a second one would be.
  return new URLSearchParams(at < 0 ? '' : whole.slice(at));
}

/** The parameter that sends pg to another server than the one the connection string names before its parameters; mostly null. */
export function secondAddress(url: string): 'host' | 'port' | null {
  if ((AUTHORITY.exec(url)?.[1] ?? '') === '') return null;
  const parameters = parametersOf(url);
  return (['host', 'port'] as const).find((name) => parameters.has(name)) ?? null;
}

/** Throws CONFIG_INVALID for such a parameter: each message and each check would mean a server that is not asked. */
export function refuseSecondAddress(url: string): void {
  const name = secondAddress(url);
  if (name === null) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Take the parameter "${name}" out of the URL, or leave the server out before the parameters: two addresses are given, and one would be told while the other one is reached.`,
    { details: { name } },
  );
}

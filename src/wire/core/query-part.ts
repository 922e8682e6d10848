import { LockstepError } from '../../model/errors.ts';

/** The parser of URLs leaves these out without a word. */
const DROPPED = /^[\s\p{Cc}]|[\t\r\n]/u;
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

/**
 * Throws CONFIG_INVALID for such a parameter: each message and each check would mean a server that is not asked. And for
 * what a URL's parser drops, behind which an address or a parameter would be seen by pg only.
 */
export function refuseSecondAddress(url: string): void {
  if (DROPPED.test(url)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'Take the blanks before the URL, and tabs and line breaks within it, out: it begins with postgresql://.',
    );
  }
  const name = secondAddress(url);
  if (name === null) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Take the parameter "${name}" out of the URL, or leave the server out before the parameters: two addresses are given, and one would be told while the other one is reached.`,
    { details: { name } },
  );
}

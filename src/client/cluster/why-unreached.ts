import { codeOf } from '../../model/errors.ts';
import type { NodeKey } from '../../model/node.ts';
import { AUTH_REFUSED, toAuthError } from '../../wire/guarded-client.ts';
import { isTransient } from './core/transient.ts';
import { describeProbe } from './known-node.ts';
import type { KnownNode } from './known-node.ts';

/** Names of servers that have no address: with the error, or null while they are being resolved. */
type Unresolved = ReadonlyMap<string, Error | null>;

/** Why each server cannot be used, for errors. */
export function describeNodes(nodes: Iterable<KnownNode>, unresolved: Unresolved): Record<NodeKey, string> {
  const lines = [...nodes].map(({ key, last }) => [key, describeProbe(last)] as const);
  const missing = [...unresolved].map(
    ([name, error]) => [name, error?.message ?? 'not resolved yet'] as const,
  );
  return Object.fromEntries([...lines, ...missing]);
}

/** The error of a server, when all of them failed: waiting does not help where none can be asked. */
export function commonErrorOf(nodes: readonly KnownNode[], unresolved: Unresolved): Error | null {
  const isAnyLeft =
    [...unresolved.values()].includes(null) ||
    nodes.some(({ last, lastError }) => last.kind !== 'down' || lastError === null);
  const first = firstErrorOf(nodes, unresolved);
  if (isAnyLeft || first === null) return null;
  const isRefused = (error: Error | null): boolean => codeOf(error) === AUTH_REFUSED;
  const areRefused = nodes.every(({ lastError }) => isRefused(lastError));
  return areRefused && isRefused(first) ? toAuthError(first) : first;
}

/** What keeps a server from being asked; null where every server that was asked has answered. */
export function firstErrorOf(nodes: readonly KnownNode[], unresolved: Unresolved): Error | null {
  const down = nodes.map(({ last, lastError }) => (last.kind === 'down' ? lastError : null));
  const errors = [...down, ...unresolved.values()].filter((error) => error !== null);
  // A name may have addresses that never answer: what another one says about the password counts.
  return errors.find((error) => !isTransient(codeOf(error))) ?? errors[0] ?? null;
}

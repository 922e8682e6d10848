import { LockstepError } from './errors.ts';

/** A node's name, unique in its cluster; also its `application_name` and part of its slot's name. */
export type NodeId = string & { readonly __brand: 'NodeId' };

/** Counts leaderships. A command that carries an older term than the newest one known is refused. */
export type Term = number & { readonly __brand: 'Term' };

const NODE_NAME = /^[a-z][a-z0-9_]{0,30}$/;

/** Checks and brands a node name: lower-case letters, digits and `_`, so that it needs no quoting in SQL. */
export function parseNodeId(text: string): NodeId {
  if (!NODE_NAME.test(text)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${text}" is not a node name; use 1 to 31 lower-case letters, digits or underscores, a letter first.`,
      { details: { text } },
    );
  }
  return text as NodeId;
}

/** Brands a term. Terms start at 1; 0 means that there has been no leader yet. */
export function parseTerm(value: number): Term {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new LockstepError('CONFIG_INVALID', `${value} is not a term; expected a whole number from 0.`);
  }
  return value as Term;
}

/** A server as a client knows it: `address:port`. */
export type NodeKey = string;

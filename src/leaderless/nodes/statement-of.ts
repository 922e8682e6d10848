import {
  changesStatement,
  digestStatement,
  lackingStatement,
  noteSeenStatement,
  seenStatement,
  trimStatement,
} from './catch-up-statements.ts';
import {
  collectStatement,
  deletedSlotsStatement,
  eraseStatement,
  sealStatement,
} from './collect-statements.ts';
import { mergeStatement } from './merge-statement.ts';
import { adoptStatement, learnStatement, slotsStatement } from './member-statements.ts';
import { keysStatement, markStatement, purgeStatement } from './key-statements.ts';
import type { NodeRequest } from './requests.ts';
import {
  consensusStatement,
  dropHintsStatement,
  hintStatement,
  readStatement,
  takeHintsStatement,
} from './statements.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;

/** The statement for requests of one lane. `epoch`: which membership the caller goes by. */
export function statementOf(requests: readonly NodeRequest[], epoch: number, maxAheadMs: number): Statement {
  const first = requests[0];
  switch (first?.kind) {
    case 'merge':
      return mergeStatement(requests as readonly Request<'merge'>[], first.store, epoch, maxAheadMs);
    case 'read':
      return readStatement(requests as readonly Request<'read'>[], first.store, epoch);
    case 'consensus':
      return consensusStatement(requests as readonly Request<'consensus'>[], first.message.kind, first.epoch);
    case 'keys':
      return keysStatement(first, epoch);
    case 'mark':
      return markStatement(requests as readonly Request<'mark'>[], first.store, epoch);
    case 'purge':
      return purgeStatement(first);
    case 'trim':
      return trimStatement(first);
    case 'hint':
      return hintStatement(requests as readonly Request<'hint'>[]);
    case 'take-hints':
      return takeHintsStatement(first);
    case 'drop-hints':
      return dropHintsStatement(requests as readonly Request<'drop-hints'>[]);
    case 'changes':
      return changesStatement(first);
    case 'lacking':
      return lackingStatement(first);
    case 'seen':
      return seenStatement(first);
    case 'note-seen':
      return noteSeenStatement(first);
    case 'digest':
      return digestStatement(first);
    case 'seal':
      return sealStatement(first, first.epoch);
    case 'collect':
      return collectStatement(first, first.epoch);
    case 'deleted-slots':
      return deletedSlotsStatement(first, epoch);
    case 'erase':
      return eraseStatement(first, first.epoch);
    case 'adopt':
      return adoptStatement(first);
    case 'slots':
      return slotsStatement(first, first.epoch);
    case 'learn':
      return learnStatement(first, first.epoch);
    case undefined:
      throw new TypeError('There is no statement for no request.');
  }
}

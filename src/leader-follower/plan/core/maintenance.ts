import type { Action } from '../../core/action.ts';

/**
 * What is left of a round's actions while the cluster is paused. Dropped is whatever moves the leadership by
 * itself, replaces data, or interferes with a PostgreSQL that a person may have stopped. Lease, support and
 * watchdog go on as ever: a cut-off leader that missed the end of the pause must not write beside a new one.
 * `hasEndedByItself`: PostgreSQL ended and neither its agent nor its watchdog had a part in it.
 */
export function duringMaintenance(actions: readonly Action[], hasEndedByItself: boolean): readonly Action[] {
  return actions.filter((action) => isAllowed(action, hasEndedByItself));
}

function isAllowed(action: Action, hasEndedByItself: boolean): boolean {
  switch (action.kind) {
    case 'rewind':
    case 'clone':
    case 'restart':
    case 'release':
    case 'hand-over':
      return false;
    case 'start':
      return !hasEndedByItself;
    case 'campaign':
      // In order, or deposing nobody.
      return action.ground === 'released' || action.ground === 'led-last';
    case 'found-cluster':
    case 'create-data-folder':
    case 'detach':
    case 'follow':
    case 'keep-slots':
    case 'promote':
    case 'lead':
    case 'demote':
    case 'refuse':
      return true;
    default:
      return action satisfies never;
  }
}

/** An election that nobody asked for: a pause must have been looked for right before it. */
export function isUnasked(action: Action): boolean {
  return action.kind === 'campaign' && (action.ground === 'expired' || action.ground === 'suspected');
}

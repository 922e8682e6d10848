import type { Coordination } from '../coordination/contract.ts';
import type { Action } from './core/decide.ts';
import { duringMaintenance, isUnasked } from './core/maintenance.ts';
import type { EventLog } from './event-log.ts';
import type { LocalNode } from './local-node.ts';
import { PlanRegister } from './plan-register.ts';

/** How long an election may be held up to see whether the cluster was paused just before. */
const LOOK_TIMEOUT_MS = 200;

export interface PlannedWorkOptions {
  readonly coordination: Coordination;
  readonly local: LocalNode;
  readonly events: EventLog;
  /** The plan changed: the next round is to come at once. */
  readonly wake: () => void;
}

/** What people have planned, as it bears on this node's rounds. */
export class PlannedWork {
  readonly #options: PlannedWorkOptions;
  readonly register: PlanRegister;

  constructor(options: PlannedWorkOptions) {
    this.#options = options;
    this.register = new PlanRegister({
      coordination: options.coordination,
      onChange: options.wake,
      onChanged: (message) => options.events.add('plan', message),
    });
  }

  /** What a pause leaves of `actions`. */
  async allowed(actions: readonly Action[]): Promise<readonly Action[]> {
    // An agent that was away may not have heard of a pause yet.
    const isUrgent = this.register.known === null || actions.some(isUnasked);
    if (isUrgent) await this.register.lookAgain(LOOK_TIMEOUT_MS);
    return this.register.isPaused
      ? duringMaintenance(actions, this.#options.local.hasEndedByItself)
      : actions;
  }
}

import { LockstepError } from '../../model/errors.ts';

/**
 * What people have planned for the cluster: a register of its own beside the one for leadership. It decides
 * no safety: an agent that has not heard of a change yet does what it would have done without.
 */
export interface Plan {
  /** While it is set nobody is elected, copied or rewound by itself; null otherwise. */
  readonly maintenance: Maintenance | null;
}

export interface Maintenance {
  /** ISO time of the command, for people. */
  readonly since: string;
  readonly reason: string | null;
}

/** What `POST /v1/plan` takes. */
export type PlanCommand =
  { readonly kind: 'pause'; readonly reason: string | null } | { readonly kind: 'resume' };

/** The plan after a command, with a line for the event log; `plan` is the same object when nothing changed. */
export interface PlanChange {
  readonly plan: Plan;
  readonly message: string;
}

export const EMPTY_PLAN: Plan = { maintenance: null };

/** The register's value; what an older release did not write yet is empty. */
export function parsePlan(value: unknown): Plan {
  return { ...EMPTY_PLAN, ...(value as Partial<Plan> | undefined | null) };
}

/** What a command makes of the plan. Throws CONFIG_INVALID when it does not fit. `nowMs` is wall-clock time. */
export function changePlan(plan: Plan, command: PlanCommand, nowMs: number): PlanChange {
  switch (command.kind) {
    case 'pause': {
      const { reason } = command;
      if (plan.maintenance !== null) {
        throw new LockstepError(
          'CONFIG_INVALID',
          `The cluster is paused already, since ${plan.maintenance.since}${inBrackets(plan.maintenance.reason)}. End that with "lockstep resume" first.`,
        );
      }
      return {
        plan: { ...plan, maintenance: { since: new Date(nowMs).toISOString(), reason } },
        message: `paused${inBrackets(reason)}: nobody is elected, copied or rewound until "lockstep resume"`,
      };
    }
    case 'resume':
      return plan.maintenance === null
        ? { plan, message: 'the cluster was not paused' }
        : { plan: { ...plan, maintenance: null }, message: 'resumed: failover and rejoin work again' };
    default:
      return command satisfies never;
  }
}

function inBrackets(reason: string | null): string {
  return reason === null ? '' : ` (${reason})`;
}

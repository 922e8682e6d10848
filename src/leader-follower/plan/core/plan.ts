import { LockstepError } from '../../../model/errors.ts';
import { changeSettings, checkClusterSettings } from './cluster-settings.ts';
import type { ClusterSettings } from './cluster-settings.ts';

/**
 * What people have planned for the cluster: a register of its own beside the one for leadership. It decides
 * no safety: an agent that has not heard of a change yet does what it would have done without.
 */
export interface Plan {
  /** While it is set nobody is elected, copied or rewound by itself; null otherwise. */
  readonly maintenance: Maintenance | null;
  /** A switchover at a time; taken out before it is begun. */
  readonly schedule: Schedule | null;
  /** PostgreSQL settings that every node has in its lockstep.conf. */
  readonly settings: ClusterSettings;
}

export interface Maintenance {
  /** ISO time of the command, for people. */
  readonly since: string;
  readonly reason: string | null;
}

/** ISO times, by the wall clocks of whoever asked and whoever leads then: they decide no safety. */
export interface Schedule {
  readonly at: string;
  /** Null for the best follower. */
  readonly to: string | null;
  /** When it was planned; tells one plan from another of the same time. */
  readonly since: string;
}

/** A planned switchover that is later than this is not run any more. */
export const LATE_AFTER_MS = 300_000;

/** What `POST /v1/plan` takes. */
export type PlanCommand =
  | { readonly kind: 'pause'; readonly reason: string | null }
  | { readonly kind: 'resume' }
  | { readonly kind: 'schedule'; readonly at: string; readonly to: string | null }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'set'; readonly settings: ClusterSettings }
  | { readonly kind: 'unset'; readonly names: readonly string[] };

/** The plan after a command, with a line for the event log; `plan` is the same object when nothing changed. */
export interface PlanChange {
  readonly plan: Plan;
  readonly message: string;
}

export const EMPTY_PLAN: Plan = { maintenance: null, schedule: null, settings: {} };

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
    case 'schedule':
      return planSwitchover(plan, command, nowMs);
    case 'cancel':
      return cancelSwitchover(plan);
    case 'set':
      return setSettings(plan, command.settings);
    case 'unset':
      return unsetSettings(plan, command.names);
    default:
      return command satisfies never;
  }
}

/** When a planned switchover is to run. */
export function judgeSchedule(schedule: Schedule, nowMs: number): 'early' | 'due' | 'late' {
  const lateMs = nowMs - Date.parse(schedule.at);
  if (lateMs < 0) return 'early';
  return lateMs > LATE_AFTER_MS ? 'late' : 'due';
}

/** The plan without this very switchover; the same object where it is not in it. */
export function withoutSchedule(plan: Plan, { at, to, since }: Schedule): Plan {
  const isPlanned = plan.schedule?.at === at && plan.schedule.to === to && plan.schedule.since === since;
  return isPlanned ? { ...plan, schedule: null } : plan;
}

/** For people: `for 2030-01-01T00:00:00.000Z to n2`. */
export function describeSchedule({ at, to }: Pick<Schedule, 'at' | 'to'>): string {
  return `for ${at}${to === null ? '' : ` to ${to}`}`;
}

function planSwitchover(
  plan: Plan,
  { at, to }: Extract<PlanCommand, { kind: 'schedule' }>,
  nowMs: number,
): PlanChange {
  if (plan.schedule !== null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `A switchover is planned already, ${describeSchedule(plan.schedule)}. Cancel it with "lockstep switchover --cancel" first.`,
    );
  }
  const atMs = Date.parse(at);
  if (Number.isNaN(atMs)) {
    throw new LockstepError('CONFIG_INVALID', `"${at}" is no time; write it as 2030-01-31T03:00:00Z.`);
  }
  if (atMs <= nowMs) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${new Date(atMs).toISOString()} has passed; it is ${new Date(nowMs).toISOString()} now. Name a later time, or leave --at out.`,
    );
  }
  const schedule = { at: new Date(atMs).toISOString(), to, since: new Date(nowMs).toISOString() };
  return { plan: { ...plan, schedule }, message: `a switchover is planned ${describeSchedule(schedule)}` };
}

function cancelSwitchover(plan: Plan): PlanChange {
  if (plan.schedule === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'No switchover is planned, or it has begun; see "lockstep status".',
    );
  }
  return {
    plan: { ...plan, schedule: null },
    message: `the switchover ${describeSchedule(plan.schedule)} is cancelled`,
  };
}

function setSettings(plan: Plan, given: ClusterSettings): PlanChange {
  const checked = checkClusterSettings(given);
  const settings = changeSettings(plan.settings, checked, []);
  const named = Object.entries(checked).map(([name, value]) => `${name} = ${value}`);
  return {
    plan: settings === plan.settings ? plan : { ...plan, settings },
    message: `settings for all nodes: ${named.join(', ')}`,
  };
}

function unsetSettings(plan: Plan, given: readonly string[]): PlanChange {
  const names = given.map((name) => name.toLowerCase());
  const unknown = names.find((name) => !Object.hasOwn(plan.settings, name));
  if (unknown !== undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${unknown} is not set for the cluster; see "lockstep settings show".`,
    );
  }
  return {
    plan: { ...plan, settings: changeSettings(plan.settings, {}, names) },
    message: `settings for all nodes: no ${names.join(', no ')} any more`,
  };
}

function inBrackets(reason: string | null): string {
  return reason === null ? '' : ` (${reason})`;
}

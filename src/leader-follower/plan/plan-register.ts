import type { Coordination, Register } from '../../coordination/contract.ts';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { changePlan, parsePlan } from './core/plan.ts';
import type { Plan, PlanCommand } from './core/plan.ts';

/** The register of what people have planned. */
export const PLAN_KEY = 'plan';
const ATTEMPTS = 5;

/** What `GET` and `POST /v1/plan` answer. */
export interface VersionedPlan {
  readonly plan: Plan;
  readonly version: number;
}

export interface PlanRegisterOptions {
  readonly clock: Clock;
  readonly coordination: Coordination;
  /** Whether this node can vouch for what is asked; throws CONFIG_INVALID. */
  readonly check: (command: PlanCommand) => Promise<void>;
  /** A newer plan was read. */
  readonly onChange: () => void;
  /** This agent has changed the plan. */
  readonly onChanged: (message: string) => void;
}

/** The cluster's plan, watched; changes are compare-and-sets on the version that they were judged by. */
export class PlanRegister {
  readonly #options: PlanRegisterOptions;
  #known: VersionedPlan | null = null;

  constructor(options: PlanRegisterOptions) {
    this.#options = options;
    options.coordination.watch(PLAN_KEY, (register) => this.#learn(register));
  }

  /** The newest seen; null before the first. */
  get known(): VersionedPlan | null {
    return this.#known;
  }

  /** Also before anything is known: then nothing is risked either. */
  get isPaused(): boolean {
    return this.#known === null || this.#known.plan.maintenance !== null;
  }

  /** Throws QUORUM_NOT_REACHED. */
  async read(): Promise<VersionedPlan> {
    const register = await this.#options.coordination.read(PLAN_KEY);
    this.#learn(register);
    return this.#known ?? { plan: parsePlan(register.value), version: register.version };
  }

  /** Looks again for a bounded time; what was known stays where nothing newer can be read. */
  async lookAgain(timeoutMs: number): Promise<void> {
    await Promise.race([this.read().catch(() => undefined), this.#options.clock.sleep(timeoutMs)]);
  }

  /** Does what a person asks for. Throws CONFIG_INVALID, QUORUM_NOT_REACHED, CAS_CONFLICT. */
  async command(command: PlanCommand): Promise<VersionedPlan> {
    await this.#options.check(command);
    let message = '';
    const result = await this.change((plan) => {
      const change = changePlan(plan, command, Date.now());
      message = change.message;
      return change.plan;
    });
    if (result.isChanged) this.#options.onChanged(message);
    return { plan: result.plan, version: result.version };
  }

  /** `change` may run several times, each time on a newer plan; the same object means that nothing is to do. */
  async change(change: (plan: Plan) => Plan): Promise<VersionedPlan & { readonly isChanged: boolean }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { plan, version } = await this.read();
      const changed = change(plan);
      if (changed === plan) return { plan, version, isChanged: false };
      const result = await this.#options.coordination.compareAndSet(PLAN_KEY, version, changed);
      switch (result.kind) {
        case 'applied':
          this.#learn(result.register);
          return { plan: changed, version: result.register.version, isChanged: true };
        case 'conflict':
          this.#learn(result.current);
          break;
        case 'unknown':
          throw new LockstepError(
            'QUORUM_NOT_REACHED',
            `It is not known whether the plan was changed (${result.reason}). See "lockstep status", and try again once a majority of the agents answers.`,
            { outcome: 'unknown', retryable: true },
          );
        default:
          result satisfies never;
      }
    }
    throw new LockstepError(
      'CAS_CONFLICT',
      `The plan was not changed: others changed it ${ATTEMPTS} times meanwhile. Try again.`,
      { retryable: true },
    );
  }

  #learn(register: Register): void {
    if (this.#known !== null && register.version <= this.#known.version) return;
    this.#known = { plan: parsePlan(register.value), version: register.version };
    this.#options.onChange();
  }
}

import type { Coordination } from '../../coordination/contract.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import { checkClusterSettings } from './core/cluster-settings.ts';
import type { ClusterSettings } from './core/cluster-settings.ts';
import type { Action } from '../core/action.ts';
import { duringMaintenance, isUnasked } from './core/maintenance.ts';
import { describeSchedule, judgeSchedule, withoutSchedule } from './core/plan.ts';
import type { Schedule } from './core/plan.ts';
import type { EventLog } from '../report/event-log.ts';
import { checkSettings } from '../../postgres/settings-check.ts';
import { PlanRegister } from './plan-register.ts';
import { ServerFactsWatch } from '../local/server-facts.ts';
import type { LocalPort } from '../ports.ts';
import type { ServerFacts } from '../local/server-facts.ts';

/** How long an election may be held up to see whether the cluster was paused just before. */
const LOOK_TIMEOUT_MS = 200;

export interface PlannedWorkOptions {
  readonly self: NodeId;
  readonly coordination: Coordination;
  readonly local: LocalPort;
  readonly events: EventLog;
  /** The plan changed: the next round is to come at once. */
  readonly wake: () => void;
  readonly clock: Clock;
  /** Hands the leadership over between two rounds. */
  readonly commands: { switchOver(to: string | null): Promise<unknown> };
}

/** What people have planned, as it bears on this node's rounds. */
export class PlannedWork {
  readonly #options: PlannedWorkOptions;
  readonly register: PlanRegister;
  readonly #facts: ServerFactsWatch;
  #isBeginning = false;
  #applied: ClusterSettings | null = null;

  constructor(options: PlannedWorkOptions) {
    this.#options = options;
    const { server } = options.local;
    this.#facts = new ServerFactsWatch(
      () => server.connect(),
      () => server.isRunning,
      options.clock,
    );
    this.register = new PlanRegister({
      check: async (command) => {
        if (command.kind !== 'set') return;
        const settings = checkClusterSettings(command.settings);
        await checkSettings({ ...options.local.programs, dataDir: options.local.dataDir, settings });
      },
      coordination: options.coordination,
      clock: options.clock,
      onChange: options.wake,
      onChanged: (message) => options.events.add('plan', message),
    });
  }

  /** What the running PostgreSQL says of itself; null while none runs. */
  get facts(): ServerFacts | null {
    return this.#facts.known;
  }

  close(): void {
    this.#facts.close();
  }

  /** What a pause leaves of `actions`. Brings PostgreSQL's settings up to date before. */
  async allowed(actions: readonly Action[]): Promise<readonly Action[]> {
    // An agent that was away may not have heard of a pause yet.
    const isUrgent = this.register.known === null || actions.some(isUnasked);
    if (isUrgent) await this.register.lookAgain(LOOK_TIMEOUT_MS);
    const { local } = this.#options;
    const { known } = this.register;
    // Nothing is started before its settings are known.
    if (known === null) return duringMaintenance(actions, true);
    await this.#applySettings(known.plan.settings);
    return this.register.isPaused ? duringMaintenance(actions, local.hasEndedByItself) : actions;
  }

  /** A disk that takes no file must not keep this node from anything else: it is tried again each round. */
  async #applySettings(settings: ClusterSettings): Promise<void> {
    if (settings === this.#applied) return;
    try {
      await this.#options.local.useClusterSettings(settings);
      this.#applied = settings;
    } catch (error) {
      const reason = (error as Error).message;
      this.#options.events.addSeldom('error', `the settings of all nodes could not be written: ${reason}`);
    }
  }

  /** As the leader: begins the planned switchover when its time has come. Does not wait for it. */
  keepTime(): void {
    const schedule = this.register.known?.plan.schedule ?? null;
    if (schedule === null || this.#isBeginning || judgeSchedule(schedule, Date.now()) === 'early') return;
    this.#isBeginning = true;
    void this.#begin(schedule)
      .catch((error: unknown) => {
        this.#options.events.addSeldom(
          'error',
          `the switchover planned ${describeSchedule(schedule)} failed: ${(error as Error).message}`,
        );
      })
      .finally(() => (this.#isBeginning = false));
  }

  /** Taken out of the plan first, by compare-and-set: it runs at most once, whoever leads meanwhile. */
  async #begin(schedule: Schedule): Promise<void> {
    const { self, events, commands } = this.#options;
    const { isChanged } = await this.register.change((plan) => withoutSchedule(plan, schedule));
    if (!isChanged) return;
    const described = `the switchover planned ${describeSchedule(schedule)}`;
    if (judgeSchedule(schedule, Date.now()) === 'late') {
      events.add('plan', `${described} is not run: it is more than 5 minutes late`);
    } else if (schedule.to === self) {
      events.add('plan', `${described} is not needed: ${self} leads already`);
    } else {
      events.add('plan', `${described} begins`);
      await commands.switchOver(schedule.to);
    }
  }
}

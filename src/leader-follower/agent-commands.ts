import { LockstepError } from '../model/errors.ts';
import type { NodeId } from '../model/node.ts';
import type { BetweenRounds } from './between-rounds.ts';
import { findNode } from './config/config.ts';
import type { ClusterConfig } from './config/config.ts';
import type { EventLog } from './report/event-log.ts';
import type { Executor } from './executor.ts';
import type { Fence } from './leadership/fence.ts';
import type { LeadershipHold } from './leadership/leadership-hold.ts';
import type { TakeoverReply, TakeoverRequest } from './report/status.ts';
import type { LocalPort } from './ports.ts';
import type { SwitchoverResult } from './switchover/switchover.ts';

export interface AgentCommandsOptions {
  readonly self: NodeId;
  readonly config: ClusterConfig;
  readonly hold: LeadershipHold;
  readonly local: LocalPort;
  readonly events: EventLog;
  readonly fence: Fence;
  readonly executor: Executor;
  readonly betweenRounds: BetweenRounds;
  /** A rescue is on here: another start, or another copy, would take away what it shows. */
  readonly isRescuing: () => boolean;
}

/** What people, and a leader that hands over, ask of an agent. It is done between two rounds of its own. */
export class AgentCommands {
  readonly #options: AgentCommandsOptions;
  #isSwitchingOver = false;
  #isRecloning = false;
  #copies = { done: 0, failed: 0 };

  constructor(options: AgentCommandsOptions) {
    this.#options = options;
  }

  /** Hands the leadership over; see Executor.switchover. */
  switchOver(to: string | null): Promise<SwitchoverResult> {
    const { self, config, betweenRounds, executor } = this.#options;
    const target = to === null ? null : findNode(config, to).name;
    if (target === self) {
      throw new LockstepError('CONFIG_INVALID', `${target} leads already; name another node.`);
    }
    if (this.#isSwitchingOver) {
      throw new LockstepError('NOT_LEADER', 'A switchover is under way already; see "lockstep status".', {
        retryable: true,
      });
    }
    this.#isSwitchingOver = true;
    return betweenRounds
      .ask(() => executor.switchover(target))
      .finally(() => (this.#isSwitchingOver = false));
  }

  /** Restarts PostgreSQL on a follower; see LocalNode.restart. Throws CONFIG_INVALID on the leader, and during a rescue. */
  restart(): Promise<void> {
    const { self, hold, local, events, executor, betweenRounds } = this.#options;
    return betweenRounds.ask(async () => {
      if (hold.ownLease.kind !== 'none') {
        throw new LockstepError(
          'CONFIG_INVALID',
          `${self} leads; hand the leadership over first ("lockstep restart ${self}" does).`,
        );
      }
      this.#refuseInRescue();
      await local.restart();
      events.add('started', 'PostgreSQL was restarted as a follower, as asked');
      executor.tellRaised();
    });
  }

  /** How copies ended that people asked for, since this agent started. */
  get copies(): { readonly done: number; readonly failed: number } {
    return this.#copies;
  }

  /** Begins a new copy of the leader and does not wait for it; see Executor.reclone. Throws CONFIG_INVALID on the leader, and during a rescue. */
  reclone(isDiscarding: boolean): void {
    const { self, hold, events, executor, betweenRounds } = this.#options;
    if (hold.ownLease.kind !== 'none') throw leads(self);
    this.#refuseInRescue();
    if (this.#isRecloning) {
      throw new LockstepError('CONFIG_INVALID', `${self} is being copied already; see "lockstep status".`);
    }
    this.#isRecloning = true;
    betweenRounds
      .ask(async () => {
        this.#refuseInRescue();
        await executor.reclone(isDiscarding);
      })
      .then(
        () => (this.#copies = { ...this.#copies, done: this.#copies.done + 1 }),
        (error: unknown) => {
          this.#copies = { ...this.#copies, failed: this.#copies.failed + 1 };
          events.add('error', `not copied anew, as was asked: ${(error as Error).message}`);
        },
      )
      .finally(() => (this.#isRecloning = false));
  }

  #refuseInRescue(): void {
    const { self, isRescuing } = this.#options;
    if (!isRescuing()) return;
    throw new LockstepError(
      'CONFIG_INVALID',
      `Close the rescue on ${self} first ("lockstep rescue close --node ${self}"): what it shows of the past would be gone. Nothing was changed.`,
    );
  }

  /** As a switchover's successor; see Executor.takeOver. */
  takeOver(request: TakeoverRequest): Promise<TakeoverReply> {
    const { fence, executor, betweenRounds } = this.#options;
    fence.raise(request.version);
    return new Promise((resolve, reject) => {
      // It answers when this node serves, which is before all is done.
      betweenRounds.ask(() => executor.takeOver(request, resolve)).catch(reject);
      executor.successor.called();
    });
  }
}

function leads(self: NodeId): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Hand the leadership over first ("lockstep switchover"): ${self} leads, and the others copy it.`,
  );
}

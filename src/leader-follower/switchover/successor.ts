import { formatLsn, parseLsn } from '../../model/lsn.ts';
import { parseTimeline } from '../../model/timeline.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { LogEnd } from '../rejoin/log-end.ts';
import { decideTakeover } from '../core/hand-over.ts';
import type { TakeoverDecision } from '../core/hand-over.ts';
import { countedOthers } from '../core/sync-policy.ts';
import { formatSynchronousStandbyNames, syncSetForElection } from '../core/sync-set.ts';
import type { ExecutorOptions } from '../agent-parts.ts';
import type { SlotKeeper } from '../duties/slot-keeper.ts';
import type { PrepareReply, TakeoverRequest } from '../report/status.ts';
import { ARRIVAL_CHECK_MS, ARRIVAL_LIMIT_MS } from '../patience.ts';
import { readTimelines } from '../rejoin/timelines.ts';

/** How long a successor that prepared itself does nothing else; a leader that stops takes less, once transactions have ended. */
const HOLD_MS = 1_500;

/** The other side of a switchover: gets ready before writes pause, and says whether it has everything. */
export class Successor {
  readonly #options: ExecutorOptions;
  readonly #slots: SlotKeeper;
  /** As they were when it prepared itself; a timeline's history never changes. */
  #timelines: Pick<LogEnd, 'history' | 'newestTimeline'> | null = null;
  #hold: Promise<void> = Promise.resolve();
  #endHold: () => void = () => undefined;

  constructor(options: ExecutorOptions, slots: SlotKeeper) {
    this.#options = options;
    this.#slots = slots;
  }

  /**
   * Does before the pause what promotion would have to do in it: slots for the other followers, and the
   * names that synchronous commits will wait for, the history of its log, and the first half of its write to the register.
   * Then rounds are held until the leader lets go.
   */
  async prepare(): Promise<PrepareReply> {
    const { self, config, register, hold, local, clock } = this.#options;
    const { state } = await register.refresh();
    if (state === null || local.following !== state.leadership.holder) {
      return { kind: 'refused', reason: 'it does not follow the leader right now' };
    }
    await this.#slots.ensure();
    const counted = countedOthers(config.nodes, self, state.policy);
    const { required, members } = syncSetForElection(state.sync, self, counted);
    await local.prepareToLead(
      formatSynchronousStandbyNames(
        required,
        members.filter((name) => name !== self),
      ),
    );
    const seen = await local.probe();
    this.#timelines = seen && (await readTimelines(local.dataDir, seen));
    // While the leader stops.
    hold.expectWrite();
    this.#hold = new Promise((resolve) => {
      const callOff = clock.after(HOLD_MS + config.switchoverWaitMs, resolve);
      this.#endHold = () => {
        callOff();
        resolve();
      };
    });
    return { kind: 'ready' };
  }

  /** Resolves when no takeover is awaited any more: a round in between would delay it. */
  untilCalled(): Promise<void> {
    return this.#hold;
  }

  /** The leader's word has come. */
  called(): void {
    this.#endHold();
  }

  /** Whether this node holds, or is about to, all of a leader's log that has ended; and then where its own ends. */
  async judge(
    request: TakeoverRequest,
  ): Promise<{ readonly decision: TakeoverDecision; readonly end: LogEnd | null }> {
    const { local, clock } = this.#options;
    const final = { timeline: parseTimeline(request.final.timeline), lsn: parseLsn(request.final.lsn) };
    const deadline = clock.nowMs() + ARRIVAL_LIMIT_MS;
    for (;;) {
      const seen = await local.probe();
      if (seen === null || !seen.isInRecovery)
        return { decision: { kind: 'refuse', reason: 'its PostgreSQL does not answer' }, end: null };
      const decision = decideTakeover(seen, final);
      const isReplayed = seen.receivedLsn === seen.replayedLsn;
      if (clock.nowMs() > deadline || (decision.kind === 'take' && isReplayed)) {
        if (decision.kind === 'refuse') return { decision, end: null };
        // Replayed past the beginning of the leader's last record is replayed to its end: nothing can follow.
        return { decision, end: { ...seen, ...(await this.#timelinesOf(seen)) } };
      }
      await clock.sleep(ARRIVAL_CHECK_MS);
    }
  }

  /** The newest may have grown since: whoever promotes looks again. */
  async #timelinesOf(seen: Probe): Promise<Pick<LogEnd, 'history' | 'newestTimeline'>> {
    if (this.#timelines?.history.timeline === seen.timeline) return this.#timelines;
    return readTimelines(this.#options.local.dataDir, seen);
  }
}

/** For an event's text. */
export function describeTakeover(request: TakeoverRequest): string {
  return `${request.from} handed over at ${formatLsn(parseLsn(request.final.lsn))}`;
}

import type { Performance } from './contest.ts';
import type { Round } from './contestant.ts';
import { meetsBar, renderBar } from './result.ts';
import type { Bar, Row } from './result.ts';
import { median, medianRatio } from './statistics.ts';

/** What to compare once a contest is over. */
export interface RowPlan {
  readonly metric: string;
  readonly unit: string;
  /** The keys of the contestants; without a peer the bar is on our own figure. */
  readonly ours: string;
  readonly peer: string | null;
  readonly measure: (round: Round) => number;
  /** `sum` for what must never happen in any round. Default `median`. */
  readonly combine?: 'median' | 'sum';
  readonly bar: Bar | null;
  readonly note?: string;
}

export const operationsPerSecond = (round: Round): number => round.operationsPerSecond;
export const p50Ms = (round: Round): number => round.p50Ms;
export const p99Ms = (round: Round): number => round.p99Ms;

/** A row says "not measured" with its reason when one side did not run. */
export function judge(plan: RowPlan, performances: ReadonlyMap<string, Performance>): Row {
  const ours = performances.get(plan.ours);
  const peer = plan.peer === null ? null : performances.get(plan.peer);
  if (ours === undefined || peer === undefined) throw new Error(`No contestant of ${plan.metric} is known.`);
  const reason = ours.unsupported ?? peer?.unsupported ?? null;
  if (reason !== null) return notMeasured(plan, peer?.plan.name ?? null, reason);
  const oursValues = ours.rounds.map(plan.measure);
  const peerValues = peer?.rounds.map(plan.measure) ?? null;
  const ratio = peerValues === null ? null : medianRatio(oursValues, peerValues);
  const figure =
    plan.combine === 'sum' ? oursValues.reduce((total, value) => total + value, 0) : median(oursValues);
  return {
    metric: plan.metric,
    unit: plan.unit,
    ours: significant(figure),
    peer: peerValues === null ? null : significant(median(peerValues)),
    peerName: peer?.plan.name ?? null,
    ratio: ratio === null ? null : significant(ratio.median),
    spread: ratio === null ? null : [significant(ratio.low), significant(ratio.high)],
    bar: plan.bar === null ? null : renderBar(plan.bar),
    met: plan.bar === null ? null : meetsBar(plan.bar, ratio?.median ?? figure),
    runs: oursValues.length,
    processes: [...ours.uses, ...(peer?.uses ?? [])],
    note: plan.note ?? null,
  };
}

export function notMeasured(plan: RowPlan, peerName: string | null, reason: string): Row {
  return {
    metric: plan.metric,
    unit: plan.unit,
    ours: null,
    peer: null,
    peerName,
    ratio: null,
    spread: null,
    bar: plan.bar === null ? null : renderBar(plan.bar),
    met: null,
    runs: 0,
    processes: [],
    note: `Not measured: ${reason}`,
  };
}

function significant(value: number): number {
  return Number(value.toPrecision(5));
}

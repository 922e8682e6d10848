import { meetsBar, renderBar } from '../result.ts';
import type { Bar, ProcessUse, Row } from '../result.ts';
import { median } from '../statistics.ts';
import type { Fault } from './faults.ts';
import type { FailoverRun } from './run.ts';
import type { Saturation } from './saturation.ts';

/** All runs of one contestant against one fault, or why there are none. */
export interface FaultRecord {
  readonly name: string;
  readonly runs: readonly FailoverRun[];
  /** Null when it ran. */
  readonly missing: string | null;
  /** Clusters that did not become whole again after a fault, with the reason. */
  readonly broken: readonly string[];
}

/** A peer at one setting. `isJudged` where the bar is about it. */
export interface PeerRecord extends FaultRecord {
  readonly key: string;
  readonly isJudged: boolean;
}

type Draft = Pick<Row, 'metric' | 'unit'> & {
  readonly values: readonly number[];
  readonly combine: 'median' | 'worst' | 'sum';
  readonly bar: Bar | null;
  readonly note?: string | null;
};

/** Every row of one fault. */
export function rowsOfFault(fault: Fault, ours: FaultRecord, peers: readonly PeerRecord[]): Row[] {
  const drafts = draftRows(fault, ours.runs);
  const [first, ...rest] = drafts.map((draft) => judge(draft, ours));
  if (first === undefined) return [];
  const main: Row = {
    ...first,
    processes: ours.missing === null ? listUses(ours.name, ours.runs) : [],
    note: joinNotes([first.note, renderBroken(ours), ours.missing === null ? renderSteps(ours.runs) : null]),
  };
  return [main, ...rest, ...peers.map((peer) => comparePeer(fault, ours, peer))];
}

function draftRows(fault: Fault, runs: readonly FailoverRun[]): Draft[] {
  const { name, medianBar, worstBar, isHarmless } = fault;
  const unit = fault.measure === 'pause' ? 's without a write' : 's to the first write';
  const seconds = { unit, values: runs.map(({ plainSeconds }) => plainSeconds) };
  const client = {
    unit,
    values: runs.map(({ lockstepSeconds }) => lockstepSeconds).filter((value) => value !== null),
  };
  const atMost = (most: number | null): Bar | null => (most === null ? null : { most });
  const sum = (metric: string, values: readonly number[], bar: Bar | null): Draft => ({
    metric: `${name}/${metric}`,
    unit: 'in all runs',
    values,
    combine: 'sum',
    bar,
  });
  const never: Bar = { most: 0 };
  const reigns = runs.map((run) => run.reigns);
  const overlaps = runs.map((run) => run.overlaps);
  const lostSync = runs.map(({ loss }) => loss.sync);
  const lostAsync = runs.map(({ loss }) => loss.async);
  const windowMs = Math.max(0, ...runs.map(({ loss }) => loss.windowMs));
  return [
    { ...seconds, metric: `${name}/median`, combine: 'median', bar: atMost(medianBar), note: fault.words },
    { ...seconds, metric: `${name}/worst`, combine: 'worst', bar: atMost(worstBar) },
    { ...client, metric: `${name}/client-median`, combine: 'median', bar: null },
    { ...client, metric: `${name}/client-worst`, combine: 'worst', bar: null },
    ...(isHarmless === true ? [sum('failovers', reigns, never)] : []),
    sum('overlapping-acknowledgements', overlaps, never),
    sum('lost-synchronous-commits', lostSync, never),
    { ...sum('lost-asynchronous-commits', lostAsync, null), note: renderWindow(windowMs) },
  ];
}

function renderWindow(windowMs: number): string | null {
  if (windowMs === 0) return null;
  return `the first of them acknowledged up to ${Math.ceil(windowMs)} ms before the fault or the last of them`;
}

const COMBINE: Readonly<Record<Draft['combine'], (values: readonly number[]) => number>> = {
  median,
  worst: (values) => Math.max(...values),
  sum: (values) => values.reduce((total, value) => total + value, 0),
};

function judge(draft: Draft, { runs, missing }: FaultRecord): Row {
  const figure = missing === null && draft.values.length > 0 ? COMBINE[draft.combine](draft.values) : null;
  return {
    metric: draft.metric,
    unit: draft.unit,
    ours: figure === null ? null : significant(figure),
    peer: null,
    peerName: null,
    ratio: null,
    spread: null,
    bar: draft.bar === null ? null : renderBar(draft.bar),
    met: draft.bar === null || figure === null ? null : meetsBar(draft.bar, figure),
    runs: runs.length,
    processes: [],
    note: figure === null ? `Not measured: ${missing ?? 'no run came to its end.'}` : (draft.note ?? null),
  };
}

/** `ratio` is the peer's median to ours. */
function comparePeer(fault: Fault, ours: FaultRecord, peer: PeerRecord): Row {
  const bar: Bar | null =
    peer.isJudged && fault.timesFaster !== undefined ? { least: fault.timesFaster } : null;
  const reason = ours.missing ?? peer.missing;
  const isMeasured = reason === null && ours.runs.length > 0 && peer.runs.length > 0;
  const seconds = ({ runs }: FaultRecord): number => median(runs.map(({ plainSeconds }) => plainSeconds));
  const ratio = isMeasured ? seconds(peer) / seconds(ours) : null;
  const lost = peer.runs.reduce((total, { loss }) => total + loss.async, 0);
  const window = renderWindow(Math.max(0, ...peer.runs.map(({ loss }) => loss.windowMs)));
  const notes = [
    `how many times faster; the peer ran ${peer.runs.length} times and lost ${lost} acknowledged commits${window === null ? '' : `, ${window}`}`,
    renderBroken(peer),
  ];
  return {
    metric: `${fault.name}/times-faster-than-patroni-${peer.key}`,
    unit: fault.measure === 'pause' ? 's without a write' : 's to the first write',
    ours: isMeasured ? significant(seconds(ours)) : null,
    peer: isMeasured ? significant(seconds(peer)) : null,
    peerName: peer.name,
    ratio: ratio === null ? null : significant(ratio),
    spread: null,
    bar: bar === null ? null : renderBar(bar),
    met: bar === null || ratio === null ? null : meetsBar(bar, ratio),
    runs: isMeasured ? ours.runs.length : 0,
    processes: isMeasured ? listUses(peer.name, peer.runs) : [],
    note: isMeasured ? joinNotes(notes) : `Not measured: ${reason ?? 'no run came to its end.'}`,
  };
}

/** The median time of each step from the fault, and in how many runs it happened. */
function renderSteps(runs: readonly FailoverRun[]): string | null {
  const kinds = [...new Set(runs.flatMap(({ steps }) => Object.keys(steps)))];
  const times = kinds.map((kind) => {
    const values = runs.map(({ steps }) => steps[kind]).filter((value) => value !== undefined);
    return { kind, ms: Math.round(median(values)), share: `${values.length}/${runs.length}` };
  });
  if (times.length === 0) return null;
  const words = times
    .toSorted((a, b) => a.ms - b.ms)
    .map(({ kind, ms, share }) => `${kind} ${ms} ms (${share})`);
  return `medians from the fault: ${words.join(', ')}`;
}

function renderBroken({ broken, runs }: FaultRecord): string | null {
  const stuck = runs.filter(({ isStuck }) => isStuck).length;
  return joinNotes([
    stuck === 0 ? null : `in ${stuck} runs a client did not write again in time`,
    broken.length === 0 ? null : `${broken.length} runs more failed: ${broken.join('; ')}`,
  ]);
}

function joinNotes(notes: readonly (string | null)[]): string | null {
  const given = notes.filter((note) => note !== null);
  return given.length === 0 ? null : given.join('; ');
}

/** Over all runs, in the steady second before each fault. */
function listUses(during: string, runs: readonly FailoverRun[]): ProcessUse[] {
  const groups = new Map<
    string,
    { cpuMs: number; elapsedMs: number; writes: number; memoryMb: (number | null)[] }
  >();
  // Whoever follows is one kind of process, whatever the node's name.
  for (const { name, ...use } of runs.flatMap(({ uses }) => uses)) {
    const key = name.replace(/ follower \S+$/, ' a follower');
    const group = groups.get(key) ?? { cpuMs: 0, elapsedMs: 0, writes: 0, memoryMb: [] };
    group.cpuMs += use.cpuMs;
    group.elapsedMs += use.elapsedMs;
    group.writes += use.writes;
    group.memoryMb.push(use.memoryMb);
    groups.set(key, group);
  }
  return [...groups].map(([process, { cpuMs, elapsedMs, writes, memoryMb }]) => {
    const known = memoryMb.filter((value) => value !== null);
    return {
      during,
      process,
      cores: Number((cpuMs / elapsedMs).toFixed(3)),
      cpuMicrosPerOperation: Number(((cpuMs * 1_000) / Math.max(1, writes)).toFixed(1)),
      memoryMb: known.length === 0 ? null : Number(median(known).toFixed(1)),
    };
  });
}

export function rowsOfSaturation(saturation: Saturation): Row[] {
  const { minutes, failovers, longestPauseSeconds, writesPerSecond } = saturation;
  const record: FaultRecord = { name: 'Lockstep', runs: [], missing: null, broken: [] };
  const note = `${minutes} min, every core kept busy by a process of its own`;
  const single = (metric: string, unit: string, value: number, bar: Bar | null): Row => ({
    ...judge({ metric: `saturation/${metric}`, unit, values: [value], combine: 'sum', bar, note }, record),
    runs: 1,
  });
  return [
    single('failovers', `in ${minutes} min`, failovers, { most: 0 }),
    single('longest-pause', 's without a write', longestPauseSeconds, null),
    single('throughput', 'writes/s', writesPerSecond, null),
  ];
}

function significant(value: number): number {
  return Number(value.toPrecision(5));
}

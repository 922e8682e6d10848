/** What a commit waits for: the leader's disk, a follower's disk, a follower that shows it. */
export type Level = 'async' | 'sync' | 'visible';

/** Lockstep's client, which never goes back to a former leader. */
export const LOCKSTEP_CLIENT = 'lockstep';

/** The end of one attempt to write a unique id. All times are milliseconds on the clock that the hosts share. */
export interface ClusterWrite {
  readonly id: string;
  /** `direct n1` holds a connection to that node; {@link LOCKSTEP_CLIENT} finds the leader. */
  readonly client: string;
  readonly level: Level;
  readonly calledAtMs: number;
  readonly endedAtMs: number;
  readonly told: Told;
}

export type Told =
  | {
      readonly kind: 'acknowledged';
      readonly node: string;
      readonly timeline: number;
      /** When the server had committed, by its own word; null where the client cannot ask in the same flight. */
      readonly committedAtMs: number | null;
    }
  /** The server said that it was not applied. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }
  | { readonly kind: 'unknown'; readonly code: string; readonly message: string };

/** What one node holds when the round is over and everything healed. */
export interface NodeRows {
  readonly node: string;
  readonly ids: ReadonlySet<string>;
}

/** A node that was suspended, and woke: it may not know at once that it no longer leads. */
export interface Wake {
  readonly node: string;
  /** When it had surely been suspended. Finding its processes takes a moment in which it still writes. */
  readonly suspendedAtMs: number;
  readonly atMs: number;
}

/** The first acknowledgement on a timeline, and who gave it. */
export interface TimelineSight {
  readonly timeline: number;
  readonly node: string;
  readonly sinceMs: number;
}

export interface RoundHistory {
  readonly writes: readonly ClusterWrite[];
  readonly rows: readonly NodeRows[];
  readonly faultAtMs: number;
  readonly wakes: readonly Wake[];
  /** What earlier rounds on the same cluster saw. */
  readonly timelines: readonly TimelineSight[];
}

export interface Bounds {
  /** How old an asynchronous write may be when the fault strikes and loses it. */
  readonly asyncLossMs: number;
  /**
   * For how long a woken leader may answer plain connections: asynchronous writes, and synchronous ones that had begun
   * before it was suspended; docs/leader-follower.md, "Windows and limits".
   */
  readonly wakeMs: number;
}

export type ClusterRule =
  | 'acknowledged write lost'
  | 'asynchronous write lost from before the fault'
  | 'asynchronous write lost without a failover'
  | 'refused write applied'
  | 'nodes differ'
  | 'two leaders at once'
  | 'one timeline, two leaders';

export interface ClusterViolation {
  readonly rule: ClusterRule;
  readonly what: string;
}

export interface RoundVerdict {
  readonly acknowledged: number;
  /** Acknowledged `sync` and `visible` writes that some node does not have. */
  readonly lost: number;
  /** Acknowledgements by a former leader after the next one's first. `worstMs`: by how much at most. */
  readonly overlaps: { readonly count: number; readonly allowed: number; readonly worstMs: number };
  /** `windowMs`: how long before the fault the oldest lost one was acknowledged. */
  readonly asyncLost: { readonly count: number; readonly windowMs: number };
  readonly timelines: readonly TimelineSight[];
  readonly violations: readonly ClusterViolation[];
}

interface Acknowledged extends ClusterWrite {
  readonly told: Extract<Told, { kind: 'acknowledged' }>;
}

/** Holds what clients were told in a round against what every node has after it. */
export function checkRound(round: RoundHistory, bounds: Bounds): RoundVerdict {
  const acknowledged = round.writes.filter(
    (write): write is Acknowledged => write.told.kind === 'acknowledged',
  );
  const timelines = sightTimelines(acknowledged, round.timelines);
  const lost = findLost(acknowledged, round.rows);
  const overlaps = findOverlaps(acknowledged, timelines, round.wakes, bounds.wakeMs);
  const hasFailedOver = new Set(acknowledged.map(({ told }) => told.timeline)).size > 1;
  const asyncLost = findAsyncLost(acknowledged, round, bounds, hasFailedOver);
  return {
    acknowledged: acknowledged.length,
    lost: lost.length,
    overlaps: {
      count: overlaps.length,
      allowed: overlaps.filter(({ isAllowed }) => isAllowed).length,
      worstMs: Math.max(0, ...overlaps.map(({ byMs }) => byMs)),
    },
    asyncLost: { count: asyncLost.count, windowMs: asyncLost.windowMs },
    timelines,
    violations: [
      ...lost,
      ...asyncLost.violations,
      ...findAppliedRefusals(round),
      ...findDifferences(round.rows),
      ...overlaps.filter(({ isAllowed }) => !isAllowed).map(({ violation }) => violation),
      ...findSharedTimelines(acknowledged, timelines),
    ],
  };
}

/** Not before it was called, and not before the server says that it had committed. */
function earliestMs({ told, calledAtMs }: Acknowledged): number {
  return told.committedAtMs ?? calledAtMs;
}

/** Not after its client knew. */
function latestMs({ told, endedAtMs }: Acknowledged): number {
  return told.committedAtMs ?? endedAtMs;
}

function sightTimelines(
  acknowledged: readonly Acknowledged[],
  known: readonly TimelineSight[],
): TimelineSight[] {
  const sights = new Map(known.map((sight) => [sight.timeline, sight]));
  for (const write of acknowledged) {
    const { timeline, node } = write.told;
    const sinceMs = latestMs(write);
    const sight = sights.get(timeline);
    if (sight === undefined) sights.set(timeline, { timeline, node, sinceMs });
    else if (sinceMs < sight.sinceMs) sights.set(timeline, { ...sight, sinceMs });
  }
  return [...sights.values()].toSorted((a, b) => a.timeline - b.timeline);
}

function findLost(acknowledged: readonly Acknowledged[], rows: readonly NodeRows[]): ClusterViolation[] {
  return acknowledged
    .filter(({ level }) => level !== 'async')
    .flatMap(({ id, client, level, told }) => {
      const missing = rows.filter(({ ids }) => !ids.has(id)).map(({ node }) => node);
      if (missing.length === 0) return [];
      const what = `${level} ${id} of ${client}, acknowledged by ${told.node} on timeline ${told.timeline}, is not on ${missing.join(', ')}`;
      return [{ rule: 'acknowledged write lost' as const, what }];
    });
}

function findAsyncLost(
  acknowledged: readonly Acknowledged[],
  { rows, faultAtMs }: RoundHistory,
  bounds: Bounds,
  hasFailedOver: boolean,
): { count: number; windowMs: number; violations: ClusterViolation[] } {
  const lost = acknowledged.filter(
    ({ id, level }) => level === 'async' && rows.some(({ ids }) => !ids.has(id)),
  );
  const ages = lost.map((write) => ({ write, beforeMs: faultAtMs - earliestMs(write) }));
  return {
    count: lost.length,
    windowMs: Math.round(Math.max(0, ...ages.map(({ beforeMs }) => beforeMs))),
    violations: ages.flatMap(({ write: { id, told }, beforeMs }): ClusterViolation[] => {
      const name = `${id}, acknowledged by ${told.node} on timeline ${told.timeline}`;
      if (!hasFailedOver) return [{ rule: 'asynchronous write lost without a failover', what: name }];
      if (beforeMs <= bounds.asyncLossMs) return [];
      const what = `${name} ${Math.round(beforeMs)} ms before the fault`;
      return [{ rule: 'asynchronous write lost from before the fault', what }];
    }),
  };
}

function findAppliedRefusals({ writes, rows }: RoundHistory): ClusterViolation[] {
  return writes.flatMap(({ id, client, told }): ClusterViolation[] => {
    if (told.kind !== 'refused' || !rows.some(({ ids }) => ids.has(id))) return [];
    return [
      { rule: 'refused write applied', what: `${id} of ${client} was refused: ${told.code} ${told.message}` },
    ];
  });
}

/** Each node against the first. */
function findDifferences([first, ...others]: readonly NodeRows[]): ClusterViolation[] {
  if (first === undefined) return [];
  return others.flatMap(({ node, ids }): ClusterViolation[] => {
    const only = (a: ReadonlySet<string>, b: ReadonlySet<string>): string[] =>
      [...a].filter((id) => !b.has(id));
    const [there, here] = [only(first.ids, ids), only(ids, first.ids)];
    if (there.length + here.length === 0) return [];
    const what = `${there.length} rows only on ${first.node}, ${here.length} only on ${node}, e.g. ${there[0] ?? here[0]}`;
    return [{ rule: 'nodes differ', what }];
  });
}

interface Overlap {
  readonly violation: ClusterViolation;
  readonly byMs: number;
  readonly isAllowed: boolean;
}

/**
 * A write that was surely acknowledged on a timeline after a later timeline had surely acknowledged another.
 * Right after a suspended leader woke, asynchronous ones of plain connections are the documented exception.
 */
function findOverlaps(
  acknowledged: readonly Acknowledged[],
  timelines: readonly TimelineSight[],
  wakes: readonly Wake[],
  wakeMs: number,
): Overlap[] {
  return acknowledged.flatMap((write) => {
    const { id, client, level, calledAtMs, told } = write;
    const later = timelines.find(
      ({ timeline, sinceMs }) => timeline > told.timeline && sinceMs < earliestMs(write),
    );
    if (later === undefined) return [];
    const atMs = earliestMs(write);
    const byMs = Math.round((atMs - later.sinceMs) * 10) / 10;
    const what = `${level} ${id} of ${client} was acknowledged by ${told.node} on timeline ${told.timeline}, ${byMs} ms after ${later.node} had begun timeline ${later.timeline}`;
    // One that was under way when the leader was suspended may have been confirmed before: it is not lost.
    const isAllowed = wakes.some(
      (wake) =>
        wake.node === told.node &&
        client !== LOCKSTEP_CLIENT &&
        (level === 'async' || calledAtMs <= wake.suspendedAtMs) &&
        atMs >= wake.atMs &&
        atMs <= wake.atMs + wakeMs,
    );
    return [{ violation: { rule: 'two leaders at once' as const, what }, byMs, isAllowed }];
  });
}

/** Every promotion begins a timeline of its own, so one is written by one node only. */
function findSharedTimelines(
  acknowledged: readonly Acknowledged[],
  timelines: readonly TimelineSight[],
): ClusterViolation[] {
  const owners = new Map(timelines.map(({ timeline, node }) => [timeline, node]));
  return acknowledged
    .filter(({ told }) => owners.get(told.timeline) !== told.node)
    .map(({ id, told }) => ({
      rule: 'one timeline, two leaders' as const,
      what: `${id} was acknowledged by ${told.node} on timeline ${told.timeline}, which ${owners.get(told.timeline)} had begun`,
    }));
}

/**
 * Longest time within the window in which none of these writes was acknowledged: for a retrying client, the
 * time from a fault to its next acknowledged write.
 */
export function longestSilenceMs(writes: readonly ClusterWrite[], fromMs: number, untilMs: number): number {
  const ends = writes
    .filter(
      ({ told, endedAtMs }) => told.kind === 'acknowledged' && endedAtMs > fromMs && endedAtMs < untilMs,
    )
    .map(({ endedAtMs }) => endedAtMs)
    .toSorted((a, b) => a - b);
  const marks = [fromMs, ...ends, untilMs];
  return Math.round(Math.max(...marks.slice(1).map((mark, index) => mark - (marks[index] ?? mark))));
}

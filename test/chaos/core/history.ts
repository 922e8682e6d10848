/** Through which part of the client a write went. */
export type Way =
  'session' | 'single' | 'transaction' | 'plain client' | 'keyed transaction' | 'keyed statement';

/** What the caller was told at the end of a write. */
export type Told =
  /** `run` is the run whose effect the caller was told of. */
  | { readonly kind: 'acknowledged'; readonly run: string; readonly timeline: number }
  | { readonly kind: 'failed'; readonly code: string; readonly outcome: string; readonly message: string };

/** One write of a unique id. Times are monotonic milliseconds. */
export interface Write {
  readonly id: string;
  readonly way: Way;
  /** Whether the loss of one server must not lose it. */
  readonly isSynchronous: boolean;
  readonly calledAtMs: number;
  readonly endedAtMs: number;
  readonly told: Told;
}

/** A read by the session that had written `id`, after it was told. */
export interface SessionRead {
  readonly id: string;
  readonly isSeen: boolean;
}

/** A second call with the key of an acknowledged write. */
export interface Repeat {
  readonly id: string;
  readonly told: Told;
}

/** What the database holds of an id at the end: how often it was applied, and by which run first. */
export interface Effect {
  readonly count: number;
  readonly run: string;
}

export interface History {
  readonly writes: readonly Write[];
  readonly reads: readonly SessionRead[];
  readonly repeats: readonly Repeat[];
  /** Failed reads of any kind: each is a violation, since reads run again elsewhere. */
  readonly readErrors: readonly string[];
}

export type Rule =
  | 'acknowledged write lost'
  | 'write doubled'
  | 'write applied though told not'
  | 'error reached an idempotent caller'
  | 'outcome resolved wrongly'
  | 'unexpected error'
  | 'stale session read'
  | 'two leaders at once';

export interface Violation {
  readonly rule: Rule;
  readonly what: string;
}

/** Codes that each way may show in a failover; keyed ways may show none. */
const ALLOWED_CODES: Readonly<Record<Way, readonly string[]>> = {
  session: ['COMMIT_UNKNOWN', 'DURABILITY_TIMEOUT'],
  single: ['COMMIT_UNKNOWN', 'DURABILITY_TIMEOUT'],
  transaction: ['COMMIT_UNKNOWN', 'DURABILITY_TIMEOUT'],
  'plain client': ['COMMIT_UNKNOWN', 'DURABILITY_TIMEOUT', 'NOT_LEADER'],
  'keyed transaction': [],
  'keyed statement': [],
};

function isKeyed({ way }: Write): boolean {
  return ALLOWED_CODES[way].length === 0;
}

/** Every promise that the history and the database's final state break. */
export function checkHistory(history: History, effects: ReadonlyMap<string, Effect>): Violation[] {
  const byId = new Map(history.writes.map((write) => [write.id, write]));
  return [
    ...history.writes.flatMap((write) => checkWrite(write, effects.get(write.id) ?? null)),
    ...history.repeats.flatMap((repeat) => checkRepeat(repeat, byId.get(repeat.id) ?? null)),
    ...history.reads
      .filter(({ id, isSeen }) => !isSeen && byId.get(id)?.isSynchronous === true)
      .map(({ id }): Violation => ({
        rule: 'stale session read',
        what: `${id} was not seen by its session`,
      })),
    ...history.readErrors.map((what): Violation => ({ rule: 'unexpected error', what })),
    ...findOverlaps(history.writes),
  ];
}

function checkWrite(write: Write, effect: Effect | null): Violation[] {
  const { id, way, told, isSynchronous } = write;
  const found: Violation[] = [];
  const name = `${way} ${id}`;
  if (effect !== null && effect.count > 1)
    found.push({ rule: 'write doubled', what: `${name} is applied ${effect.count} times` });
  if (told.kind === 'acknowledged') {
    if (effect === null && isSynchronous) found.push({ rule: 'acknowledged write lost', what: name });
    if (effect !== null && effect.run !== told.run)
      found.push({
        rule: 'outcome resolved wrongly',
        what: `${name} was told of run ${told.run}, applied is ${effect.run}`,
      });
    return found;
  }
  const error = `${told.code} (${told.outcome}) ${told.message}`;
  if (effect !== null && told.outcome === 'not-applied')
    found.push({ rule: 'write applied though told not', what: `${name}: ${error}` });
  if (isKeyed(write)) found.push({ rule: 'error reached an idempotent caller', what: `${name}: ${error}` });
  else if (!ALLOWED_CODES[way].includes(told.code))
    found.push({ rule: 'unexpected error', what: `${name}: ${error}` });
  return found;
}

function checkRepeat({ id, told }: Repeat, write: Write | null): Violation[] {
  if (told.kind === 'failed')
    return [
      { rule: 'error reached an idempotent caller', what: `repeat of ${id}: ${told.code} ${told.message}` },
    ];
  if (write?.told.kind !== 'acknowledged' || write.told.run === told.run) return [];
  return [
    {
      rule: 'outcome resolved wrongly',
      what: `repeat of ${id} was told of run ${told.run}, not ${write.told.run}`,
    },
  ];
}

/**
 * A synchronous write acknowledged on a timeline after a later one had acknowledged another, though it was
 * called only then: the former leader still led.
 */
export function findOverlaps(writes: readonly Write[]): Violation[] {
  const acknowledged = writes.flatMap((write) =>
    write.told.kind === 'acknowledged' && write.isSynchronous
      ? [{ ...write, timeline: write.told.timeline }]
      : [],
  );
  const firstEnd = new Map<number, number>();
  for (const { timeline, endedAtMs } of acknowledged)
    firstEnd.set(timeline, Math.min(endedAtMs, firstEnd.get(timeline) ?? Number.POSITIVE_INFINITY));
  const timelines = [...firstEnd].toSorted(([a], [b]) => a - b);
  return acknowledged
    .filter(({ timeline, calledAtMs }) =>
      timelines.some(([later, sinceMs]) => later > timeline && sinceMs < calledAtMs),
    )
    .map(({ id, timeline }) => ({
      rule: 'two leaders at once',
      what: `${id} was acknowledged on timeline ${timeline} after a newer one had begun`,
    }));
}

/** Longest time within the window in which no synchronous write was acknowledged. */
export function longestGapMs(writes: readonly Write[], fromMs: number, untilMs: number): number {
  const ends = writes
    .filter(({ told, isSynchronous }) => told.kind === 'acknowledged' && isSynchronous)
    .map(({ endedAtMs }) => endedAtMs)
    .filter((endedAtMs) => endedAtMs >= fromMs && endedAtMs <= untilMs)
    .toSorted((a, b) => a - b);
  const marks = [fromMs, ...ends, untilMs];
  return Math.max(...marks.slice(1).map((mark, index) => mark - (marks[index] ?? mark)));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

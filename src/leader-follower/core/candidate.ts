import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { TimelineHistory } from '../../model/timeline.ts';

/** Where a node's log ends. */
export interface Position {
  readonly history: TimelineHistory;
  readonly receivedLsn: Lsn;
}

/** What a node measured of itself; null where it could not. */
export interface Measures {
  /** Round trip to the nearest nodes that make a majority with it, in milliseconds. */
  readonly peerLatencyMs: number | null;
  /** Round trip to the median of the clients that are connected to it, in milliseconds. */
  readonly clientLatencyMs: number | null;
  /** How long a small write takes until it is on disk, in milliseconds. */
  readonly fsyncMs: number | null;
  /** The part of its processors that is idle: 0 to 1. */
  readonly cpuHeadroom: number | null;
  /** Room for PostgreSQL on its disk, in bytes. Missing where an older release runs. */
  readonly freeBytes?: number | null;
}

/** What tells candidates with the same data apart. */
export interface Merit {
  readonly node: NodeId;
  /** From the configuration: 0 never leads, higher is preferred. */
  readonly failoverPriority: number;
  /** How many leaderships it lost lately, as far as they speak against it. */
  readonly losses: number;
  readonly measures: Measures;
  /** It is to be removed, and leads only where nobody else can. */
  readonly isLeaving?: boolean;
}

export const UNMEASURED: Measures = {
  peerLatencyMs: null,
  clientLatencyMs: null,
  fsyncMs: null,
  cpuHeadroom: null,
};

/** Of a node that nothing is known of. */
export function plainMerit(node: NodeId): Merit {
  return { node, failoverPriority: 1, losses: 0, measures: UNMEASURED };
}

/** Whether it may ever lead: a witness, a delayed node and one that has left have priority 0, too. */
export function mayLead({ failoverPriority }: { readonly failoverPriority: number }): boolean {
  return failoverPriority > 0;
}

/** What is known of a node. */
export function meritOf(merits: readonly Merit[] | undefined, name: NodeId): Merit {
  return merits?.find(({ node }) => node === name) ?? plainMerit(name);
}

/** Below this, latencies are equal; from there on, those within a factor of two are. */
const EQUAL_LATENCY_MS = 2;
const EQUAL_FSYNC_MS = 2;
/** Headroom counts in steps of a quarter. */
const HEADROOM_STEPS = 4;

/**
 * Positive when `a` holds newer data. A descendant timeline is newer than its ancestor's, at any LSN. Of two
 * promotions side by side, of which only one can have acknowledged anything, the later numbered one counts.
 */
export function comparePositions(a: Position, b: Position): number {
  const [pathA, pathB] = [pathOf(a.history), pathOf(b.history)];
  for (let index = 0; index < Math.max(pathA.length, pathB.length); index++) {
    const difference = (pathA[index] ?? 0) - (pathB[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.receivedLsn === b.receivedLsn ? 0 : a.receivedLsn > b.receivedLsn ? 1 : -1;
}

function pathOf(history: TimelineHistory): readonly number[] {
  return [...history.ancestors.map((ancestor) => ancestor.timeline), history.timeline];
}

/**
 * Best first, for candidates with the same data: who stays, who lost no leadership lately, the lowest latency to the
 * other nodes and to the clients, the fastest disk, the most idle processors, the highest priority, the name.
 * Figures within a tolerance count as equal, and a figure that one of them lacks counts for none: else noise
 * would decide, and the order would depend on who is compared with whom.
 */
export function rankByMerit(merits: readonly Merit[]): readonly Merit[] {
  const keys = new Map(merits.map((merit) => [merit.node, sortKey(merit, merits)]));
  return merits.toSorted((a, b) => {
    const [keyA, keyB] = [keys.get(a.node) ?? [], keys.get(b.node) ?? []];
    for (const [index, value] of keyA.entries()) {
      const difference = value - (keyB[index] ?? 0);
      if (difference !== 0) return difference;
    }
    return a.node < b.node ? -1 : a.node > b.node ? 1 : 0;
  });
}

/** Lower is better, in the order of importance. */
function sortKey(merit: Merit, all: readonly Merit[]): readonly number[] {
  const known = (read: (measures: Measures) => number | null): number | null =>
    all.every(({ measures }) => read(measures) !== null) ? read(merit.measures) : null;
  const peersMs = known((measures) => measures.peerLatencyMs);
  const clientsMs = known((measures) => measures.clientLatencyMs);
  const fsyncMs = known((measures) => measures.fsyncMs);
  const headroom = known((measures) => measures.cpuHeadroom);
  return [
    merit.isLeaving === true ? 1 : 0,
    merit.losses,
    // What one synchronous commit of a client takes on the way.
    bucket((peersMs ?? 0) + (clientsMs ?? 0), EQUAL_LATENCY_MS),
    bucket(fsyncMs ?? 0, EQUAL_FSYNC_MS),
    -Math.min(HEADROOM_STEPS - 1, Math.floor((headroom ?? 0) * HEADROOM_STEPS)),
    -merit.failoverPriority,
  ];
}

/** 0 below `unit`, and one more with each doubling. */
function bucket(value: number, unit: number): number {
  return value < unit ? 0 : Math.floor(Math.log2(value / unit)) + 1;
}

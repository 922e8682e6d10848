import type { AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';

/** What one client saw of one call. Times are those of its start and end; versions are what it was told. */
export type Observation =
  | {
      readonly kind: 'read';
      readonly startMs: number;
      readonly endMs: number;
      readonly version: number;
      readonly id: string | null;
    }
  | {
      readonly kind: 'applied';
      readonly startMs: number;
      readonly endMs: number;
      readonly version: number;
      readonly id: string;
    }
  | {
      readonly kind: 'conflict';
      readonly startMs: number;
      readonly endMs: number;
      readonly version: number;
      readonly id: string | null;
      readonly expectedVersion: number;
      /** The value that was refused. */
      readonly refusedId: string;
    };

/** Every value is unique and names the value that it replaced, so that a fork shows itself. */
export interface SimulatedValue {
  readonly id: string;
  readonly parentId: string | null;
  readonly parentVersion: number;
  /** The voters that it names; null: those that founded the cluster. */
  readonly voters: AgentVoterSet | null;
}

/** What was seen of one register. */
export interface RegisterHistory {
  readonly observations: Observation[];
  readonly values: Map<string, SimulatedValue>;
  /** What watches told that they must not. */
  readonly watched: string[];
}

/** Why the history of one register is not linearizable; null when it is. */
export function findViolation({ observations, values, watched }: RegisterHistory): string | null {
  return (
    watched[0] ??
    findFork(observations, values) ??
    findRefusedButSeen(observations) ??
    findTimeTravel(observations)
  );
}

function findFork(
  observations: readonly Observation[],
  values: ReadonlyMap<string, SimulatedValue>,
): string | null {
  const chain = new Map<number, string | null>([[0, null]]);
  for (const { version, id } of observations) {
    const known = chain.get(version);
    if (known !== undefined && known !== id) return `fork: version ${version} is both ${known} and ${id}`;
    chain.set(version, id);
  }
  for (const [version, id] of chain) {
    if (version === 0) continue;
    const value = id === null ? undefined : values.get(id);
    if (value === undefined) return `version ${version} holds ${id}, which nobody wrote`;
    if (value.parentVersion !== version - 1)
      return `${id} replaced version ${value.parentVersion} but is version ${version}`;
    const parent = chain.get(version - 1);
    if (parent !== undefined && parent !== value.parentId)
      return `fork: ${id} replaced ${value.parentId}, not ${parent}`;
  }
  return null;
}

function findRefusedButSeen(observations: readonly Observation[]): string | null {
  const seen = new Set(observations.map((observation) => observation.id));
  for (const observation of observations) {
    if (observation.kind !== 'conflict') continue;
    if (seen.has(observation.refusedId)) return `${observation.refusedId} was refused, but it was written`;
    if (observation.version === observation.expectedVersion)
      return `${observation.refusedId} was refused at its own version`;
  }
  return null;
}

/** A call that began after another had ended must see at least its version; a write, a newer one. */
function findTimeTravel(observations: readonly Observation[]): string | null {
  const byEnd = observations.toSorted((a, b) => a.endMs - b.endMs);
  const byStart = observations.toSorted((a, b) => a.startMs - b.startMs);
  let newest: Observation | null = null;
  let ended = 0;
  for (const observation of byStart) {
    for (
      let done = byEnd[ended];
      done !== undefined && done.endMs < observation.startMs;
      done = byEnd[++ended]
    ) {
      if (newest === null || done.version > newest.version) newest = done;
    }
    if (newest === null) continue;
    const isStale = observation.version < newest.version;
    const isWrittenTwice = observation.kind === 'applied' && observation.version === newest.version;
    if (isStale || isWrittenTwice) {
      return `stale: ${observation.kind} at ${observation.startMs} ms told version ${observation.version} after version ${newest.version} was told at ${newest.endMs} ms`;
    }
  }
  return null;
}

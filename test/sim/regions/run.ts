import { findConflicts, orderOperations, replay } from '../../../src/multi-leader/core/merge.ts';
import type { Conflict } from '../../../src/multi-leader/core/merge.ts';
import type { OrphanRule } from '../../../src/multi-leader/core/orphan-rule.ts';
import type { Priorities } from '../../../src/multi-leader/core/referee-rule.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { lowestOf } from './local-steps.ts';
import { runEscrow } from './escrow.ts';
import type { EscrowRules } from './escrow.ts';
import { SHIPPED } from './rules.ts';
import type { RegionRules } from './rules.ts';
import { possibleSteps, takeStep } from './steps.ts';
import type { Step } from './steps.ts';
import { findOrphans } from './orphans.ts';
import { findWrongPriorities } from './priority.ts';
import { findLostTags } from './resolving.ts';
import { standingRows } from './parking.ts';
import { COLUMN_RULES, createWorld, initialRow, WHOLE_TABLE } from './world.ts';
import type { Row, ScriptStep, World } from './world.ts';

/** What a run is about. */
export interface Setup {
  readonly mode?: 'row' | 'merge';
  readonly regions?: number;
  readonly keys?: number;
  /** Of each region. */
  readonly transactions?: number;
  readonly hasDeletes?: boolean;
  readonly isUpdateOnly?: boolean;
  /** How far clocks are apart at most. */
  readonly skew?: number;
  readonly crashes?: number;
  readonly clockSteps?: number;
  readonly hasEqualTimes?: boolean;
  readonly valueCount?: number;
  readonly hasUniqueValues?: boolean;
  readonly hasTruncates?: boolean;
  readonly orphanRule?: OrphanRule;
  readonly resolver?: 'unites' | 'grows';
  readonly priorities?: Priorities;
  /** Parts of one number, in place of rows; `escrow` replaces rules of it. */
  readonly isEscrow?: boolean;
  readonly escrow?: Partial<EscrowRules>;
  /** The last region joins the others while they write. */
  readonly joins?: boolean;
  /** A clock that steps back shows an older version for a while, by design. */
  readonly mayGoBack?: boolean;
  readonly rules?: Partial<RegionRules>;
}

export interface RunResult {
  readonly steps: number;
  readonly violations: readonly string[];
  readonly repaired: number;
  readonly decisions: number;
  readonly transcript: readonly string[];
}

type Random = () => number;

const STEP_LIMIT = 3_000;
/** From here on links and readers are no longer held up. */
const SLOW_UNTIL = 250;
const CALM_FROM = 1_200;
const WEIGHTS: Readonly<Record<Step['kind'], number>> = {
  begin: 3,
  stamp: 3,
  log: 2,
  show: 2,
  'read-own': 1.5,
  promise: 0.6,
  'end-promise': 1,
  prune: 0.8,
  tick: 0.5,
  lock: 2.5,
  wait: 2.5,
  commit: 2,
  crash: 0.4,
  empty: 2,
  'clock-back': 0.2,
  rewrite: 1,
  judge: 1,
  resolve: 1,
  'carry-out': 1,
  join: 0.5,
};
const FAULTS: ReadonlySet<Step['kind']> = new Set(['promise', 'crash', 'clock-back']);
const IDLE: ReadonlySet<Step['kind']> = new Set(['promise', 'end-promise', 'prune', 'tick', 'clock-back']);

/** Takes regions through random writes, delays, crashes and clock steps, then lets them come to rest and compares. */
export function runRegions(seed: number, setup: Setup, options: { hasTranscript?: boolean } = {}): RunResult {
  const random = createRandom(seed);
  if (setup.isEscrow === true) {
    const result = runEscrow({ random, rules: { ...SHIPPED.escrow, ...setup.escrow } });
    return options.hasTranscript === true ? result : { ...result, transcript: [] };
  }
  const world = createWorldFor(setup, random);
  const weigh = createWeights(world, random);
  const transcript: string[] = [];
  const take = (step: Step): void => {
    if (options.hasTranscript === true) transcript.push(JSON.stringify(step));
    takeStep(world, step);
  };
  let steps = 0;
  for (; steps < STEP_LIMIT; steps++) {
    const possible = possibleSteps(world).filter(({ kind }) => steps < CALM_FROM || !FAULTS.has(kind));
    const isAtRest = possible.every(({ kind }) => IDLE.has(kind) && kind !== 'tick');
    if (possible.length === 0) break;
    if (isAtRest && steps > 600 && world.regions.every(({ script }) => script.length === 0)) break;
    take(choose(possible, (step) => weigh(step, steps), random));
  }
  comeToRest(world, take);
  return {
    steps,
    violations: check(world, setup.mayGoBack === true),
    repaired: world.repaired,
    decisions: world.decisions,
    transcript,
  };
}

function createWorldFor(setup: Setup, random: Random): World {
  const regions = setup.regions ?? 3;
  const keys =
    setup.orphanRule === undefined
      ? Array.from({ length: setup.keys ?? 2 }, (_, index) => `k${index}`)
      : ['p0', 'p1', 'c0', 'c1', 'c2'];
  const below = (limit: number): number => Math.floor(random() * limit);
  let writes = 0;
  const step = (key: string): ScriptStep => ({
    key,
    value: key.startsWith('c') ? `p${below(2)}` : `v${setup.valueCount ? below(setup.valueCount) : ++writes}`,
    isDelete: setup.hasDeletes !== false && random() < 0.3,
    isTruncate: false,
    isUpdateOnly: setup.isUpdateOnly === true,
    changesValue: (setup.mode !== 'merge' && setup.hasUniqueValues !== true) || random() < 0.5,
    changesBig: random() < 0.5,
    adds: setup.mode === 'merge' ? below(9) - 4 : 0,
  });
  const scripts = Array.from({ length: regions }, () =>
    Array.from({ length: setup.transactions ?? 4 }, () => {
      if (setup.hasTruncates === true && random() < 0.15) return [{ ...step(WHOLE_TABLE), isTruncate: true }];
      const some = keys.filter(() => random() < 0.6);
      return (some.length > 0 ? some : [keys[below(keys.length)] ?? 'k0']).map(step);
    }),
  );
  const offsets = Array.from({ length: regions }, () => below(setup.skew ?? 30));
  return createWorld({ ...setup, regions, keys, scripts, offsets });
}

/** Each run holds other links and readers up, so that long delays appear. */
function createWeights(world: World, random: Random): (step: Step, steps: number) => number {
  const slowLinks = world.regions.map(() => world.regions.map(() => (random() < 0.4 ? 0.05 : 1)));
  const slowReaders = world.regions.map(() => (random() < 0.4 ? 0.08 : 1));
  const pruning = random() < 0.5 ? 3 : 1;
  return (step, steps) => {
    const weight = WEIGHTS[step.kind];
    if (step.kind === 'promise' || step.kind === 'end-promise' || step.kind === 'prune')
      return weight * pruning;
    if (steps >= SLOW_UNTIL) return weight;
    if (step.kind === 'lock' || step.kind === 'wait' || step.kind === 'empty')
      return weight * (slowLinks[step.from]?.[step.to] ?? 1);
    return step.kind === 'read-own' ? weight * (slowReaders[step.region] ?? 1) : weight;
  };
}

function choose(steps: readonly Step[], weigh: (step: Step) => number, random: Random): Step {
  const weights = steps.map(weigh);
  let rest = random() * weights.reduce((sum, weight) => sum + weight, 0);
  const index = weights.findIndex((weight) => (rest -= weight) <= 0);
  const chosen = steps[index === -1 ? steps.length - 1 : index];
  if (chosen === undefined) throw new Error('there is no step to choose from');
  return chosen;
}

/** Delivers everything, with promises and pruning thrice: also what pruning forgets must not be missed. */
function comeToRest(world: World, take: (step: Step) => void): void {
  const decides = world.resolver !== null || world.priorities !== null;
  // What is decided is written, and settles in turn.
  for (let round = 0; round < (decides ? 10 : 3); round++) {
    for (const region of world.regions) {
      if (region.isOpen && region.promiseUnderWay === null) take({ kind: 'promise', region: region.id });
    }
    for (let i = 0; i < 2_000; i++) {
      const [step] = possibleSteps(world).filter(({ kind }) => !FAULTS.has(kind) && kind !== 'prune');
      if (step === undefined) break;
      take(step);
    }
    for (const region of world.regions)
      if (region.isOpen && lowestOf(world, region) !== null) take({ kind: 'prune', region: region.id });
  }
}

function check(world: World, mayGoBack: boolean): string[] {
  const broken = mayGoBack ? [] : [...world.violations];
  const shown = world.regions.map((region) =>
    JSON.stringify(world.keys.map((key) => region.rows.get(key)?.row ?? null)),
  );
  const ends = world.keys.map((key) => endOf(world, key));
  const standing = world.hasUniqueValues
    ? standingRows(ends.flatMap(({ key, row, version }) => (row === null ? [] : [{ key, row, version }])))
    : null;
  const wanted = JSON.stringify(
    ends.map(({ key, row }) => (standing === null ? row : (standing.get(key) ?? null))),
  );
  if (shown.some((rows) => rows !== shown[0])) broken.push(`regions differ: ${shown.join('  ')}`);
  else if (shown[0] !== wanted) broken.push(`all have ${shown[0]}, and the last writes are ${wanted}`);
  const logs = world.regions.map(({ conflicts }) => describeConflicts(conflicts));
  const conflictCount = ends.reduce((sum, { conflicts }) => sum + conflicts, 0);
  if (logs.some((log) => log !== logs[0])) broken.push(`logs of conflicts differ: ${logs.join('  ')}`);
  else if (world.regions[0]?.conflicts.length !== conflictCount)
    broken.push(`all logged ${world.regions[0]?.conflicts.length} conflicts of ${conflictCount}`);
  for (const region of world.regions)
    broken.push(
      ...findOrphans(world, region).map((key) => `region ${region.id} has ${key} without its parent`),
    );
  const isStuck =
    world.regions.some(({ isOpen }) => !isOpen) ||
    world.applying.size > 0 ||
    world.regions.some(
      ({ open, script, openConflicts, priority }) =>
        open.length + script.length + openConflicts.length + priority.pending.length > 0,
    );
  if (isStuck) broken.push('it does not come to rest');
  broken.push(...findLostTags(world), ...findWrongPriorities(world));
  return broken;
}

/** Without the earlier version, which may be settled already. */
function describeConflicts(conflicts: readonly Conflict[]): string {
  return conflicts
    .map(({ later, kind, decision, before, seen, written, result }) =>
      JSON.stringify([
        later.timeUs,
        later.region,
        Number(later.lsn),
        kind,
        decision,
        before,
        seen,
        written,
        result,
      ]),
    )
    .toSorted()
    .join(' ');
}

interface End {
  readonly key: string;
  readonly row: Row | null;
  readonly version: Version;
  readonly conflicts: number;
}

/** What all writes of a key come to, in the order of their versions. */
function endOf(world: World, key: string): End {
  const operations = orderOperations(
    world.regions.flatMap(({ id, log }) =>
      log.flatMap(({ isApplied, timeUs, lsn, changes }) =>
        changes
          .filter((change) => !isApplied && (change.key === key || change.kind === 'truncate'))
          .map(({ old, row }) => ({ version: { timeUs, region: id, lsn: BigInt(lsn) }, old, row })),
      ),
    ),
  );
  const initial = initialRow(world, key);
  const last = operations.at(-1);
  const version = last?.version ?? { timeUs: 0, region: 0, lsn: 0n };
  if (world.mode === 'row')
    return { key, row: last === undefined ? initial : last.row, version, conflicts: 0 };
  return {
    key,
    row: replay(initial, operations, COLUMN_RULES),
    version,
    conflicts: findConflicts(initial, operations, COLUMN_RULES).length,
  };
}

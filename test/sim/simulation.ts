/** One rule of a simulated system, broken on purpose, that some seed must catch. */
export interface SimulatedMutant {
  readonly name: string;
  /** Which rule is broken, and how. */
  readonly what: string;
}

export interface SimulatedRun {
  readonly violations: readonly { readonly invariant: string; readonly what: string }[];
  /** How many events ran. */
  readonly steps: number;
  /** The same for the same seed. */
  readonly hash: string;
}

export interface SimulatedRunOptions {
  /** One of the simulation's mutants; null: as shipped. */
  readonly mutant: string | null;
  readonly transcript?: (line: string) => void;
}

/** What `npm run sim` runs: shipped decisions under virtual time, everything else drawn from the seed. */
export interface Simulation {
  readonly mutants: readonly SimulatedMutant[];
  run(seed: number, options: SimulatedRunOptions): SimulatedRun | Promise<SimulatedRun>;
}

/** By the name that `npm run sim -- --of name` takes; the first is the default. */
const SIMULATIONS: Readonly<Record<string, () => Promise<Simulation>>> = {
  cluster: async () => (await import('./cluster/simulation.ts')).clusterSimulation,
  leaderless: async () => (await import('./leaderless/simulation.ts')).leaderlessSimulation,
  regions: async () => (await import('./regions/simulation.ts')).regionsSimulation,
};

export const SIMULATION_NAMES: readonly string[] = Object.keys(SIMULATIONS);

/** Throws TypeError for a name that there is not. */
export function loadSimulation(name: string): Promise<Simulation> {
  const load = SIMULATIONS[name];
  if (load === undefined)
    throw new TypeError(`--of does not know "${name}"; expected ${SIMULATION_NAMES.join(' or ')}.`);
  return load();
}

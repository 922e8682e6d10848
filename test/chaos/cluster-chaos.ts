import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { whyNot } from './cluster-faults.ts';
import { ClusterLoad, CREATE_TABLE } from './cluster-load.ts';
import { ClusterRound } from './cluster-round.ts';
import type { ClusterMemory, Finding, RoundOutcome } from './cluster-round.ts';
import { CLUSTER_FAULTS, planRound } from './core/cluster-faults.ts';
import type { ClusterFault, PlannedRound } from './core/cluster-faults.ts';
import { median } from './core/history.ts';
import { createRandom } from '../../src/testing/simulation/random.ts';
import { HostCluster } from './hosts/cluster.ts';

export interface ClusterChaosOptions {
  /** With a delayed and a cascading node, besides the three. */
  readonly hasAllKinds?: boolean;
  readonly rounds: number;
  readonly seed: number;
  /** One after the other, and again. Empty: drawn anew in every round. */
  readonly faults: readonly ClusterFault[];
  readonly onProgress: (line: string) => void;
  /** Ends the run at once, in order. */
  readonly stop: AbortSignal;
}

/** On a busy machine the first leader may be lost as soon as it leads. */
const START_PATIENCE_MS = 120_000;

interface Spread {
  readonly median: number;
  readonly worst: number;
}

export interface ClusterChaosResult {
  readonly scenario: string;
  readonly seed: number;
  readonly rounds: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Faults that this machine cannot do, and why. */
  readonly skipped: Readonly<Record<string, string>>;
  /** Rounds after which another node led. */
  readonly failovers: number;
  readonly acknowledged: number;
  /** Acknowledged synchronous writes that some node does not have. */
  readonly lost: number;
  /** Allowed: acknowledged asynchronous ones; the oldest was acknowledged `windowMs` before its fault. */
  readonly asyncLost: { readonly count: number; readonly windowMs: number };
  /** Acknowledgements by a former leader after the next one's first. */
  readonly overlaps: number;
  /** Of those, by suspended leaders that woke, asynchronous; and by how much the latest came too late. */
  readonly overlapsAllowed: number;
  readonly overlapWorstMs: number;
  /**
   * From a fault to a retrying client's next acknowledged synchronous write, over rounds with a new leader and
   * those that should have had one.
   */
  readonly unavailableMs: Spread;
  readonly unavailableMsByFault: Readonly<Record<string, Spread>>;
  readonly violations: readonly (Finding & {
    readonly round: number;
    readonly fault: ClusterFault;
    /** Strikes the same faults again, up to this one. */
    readonly command: string;
    /** Where the nodes' logs are. */
    readonly logs: string;
  })[];
}

/** A cluster of three hosts under load; each round strikes once and holds the history against every node. */
export async function runClusterChaos(options: ClusterChaosOptions): Promise<ClusterChaosResult> {
  const { hasAllKinds = false } = options;
  const random = createRandom(options.seed);
  const tally = new Tally(options);
  let round = 0;
  while (round < options.rounds) {
    await using cluster = await HostCluster.start({ ...options, hasAllKinds });
    await createTable(cluster);
    await using load = new ClusterLoad(
      {
        url: cluster.url,
        nodes: cluster.hosts.map(({ name, address }) => ({ name, address, dsn: cluster.dsn(name) })),
      },
      createRandom(options.seed + 1),
    );
    const memory: ClusterMemory = { timelines: [] };
    for (let isUsable = true; isUsable && round < options.rounds;) {
      const plan = planRound(options.faults[round % options.faults.length] ?? null, random);
      const reason = whyNot(plan.fault, cluster);
      if (reason !== null) {
        tally.skip(plan.fault, reason);
        if (options.faults.length > 0) return tally.result();
        continue;
      }
      round += 1;
      const outcome = await new ClusterRound(cluster, load, plan).run(round, memory);
      await tally.add(round, plan, outcome, cluster);
      isUsable = outcome.isUsable;
    }
  }
  return tally.result();
}

async function createTable(cluster: HostCluster): Promise<void> {
  const { leader } = await cluster.untilWhole(START_PATIENCE_MS);
  const client = new Client({ connectionString: cluster.dsn(leader ?? '') });
  await client.connect();
  try {
    await client.query(CREATE_TABLE);
  } finally {
    await client.end();
  }
}

class Tally {
  readonly #options: ClusterChaosOptions;
  readonly #skipped: Record<string, string> = {};
  readonly #outcomes: { readonly plan: PlannedRound; readonly outcome: RoundOutcome }[] = [];
  readonly #violations: ClusterChaosResult['violations'][number][] = [];

  constructor(options: ClusterChaosOptions) {
    this.#options = options;
  }

  skip(fault: ClusterFault, reason: string): void {
    if (this.#skipped[fault] === undefined) this.#options.onProgress(`${fault} is skipped: ${reason}.`);
    this.#skipped[fault] = reason;
  }

  async add(round: number, plan: PlannedRound, outcome: RoundOutcome, cluster: HostCluster): Promise<void> {
    const { onProgress, rounds, seed } = this.#options;
    const { fault } = plan;
    this.#outcomes.push({ plan, outcome });
    onProgress(`${round}/${rounds} ${outcome.line}`);
    if (outcome.findings.length === 0) return;
    const logs = join(tmpdir(), `lockstep-chaos-seed-${seed}-round-${round}.log`);
    await mkdir(tmpdir(), { recursive: true });
    const told = outcome.findings.map(({ rule, what }) => `${rule}: ${what}`).join('\n');
    await writeFile(logs, `${fault}\n${told}\n${await cluster.logs()}\n`, { mode: 0o600 });
    for (const { rule, what } of outcome.findings.slice(0, 5)) onProgress(`  BROKEN ${rule}: ${what}`);
    onProgress(`  ${outcome.findings.length} in all; logs: ${logs}`);
    const scenario = this.#options.faults.length === 0 ? '' : `--scenario ${fault} `;
    const kinds = this.#options.hasAllKinds === true ? '--kinds ' : '';
    const command = `npm run chaos -- ${scenario}${kinds}--seed ${seed} --rounds ${round}`;
    this.#violations.push(
      ...outcome.findings.map((finding) => ({ ...finding, round, fault, command, logs })),
    );
  }

  result(): ClusterChaosResult {
    const { seed, faults } = this.#options;
    const verdicts = this.#outcomes.flatMap(({ outcome }) => outcome.verdict ?? []);
    const sum = (count: (verdict: (typeof verdicts)[number]) => number): number =>
      verdicts.reduce((total, verdict) => total + count(verdict), 0);
    const worst = (value: (verdict: (typeof verdicts)[number]) => number): number =>
      Math.max(0, ...verdicts.map(value));
    return {
      scenario: faults.length === 0 ? 'cluster' : faults.join(', '),
      seed,
      rounds: this.#outcomes.length,
      faults: Object.fromEntries(
        CLUSTER_FAULTS.map((name) => [name, this.#of(name).length] as const).filter(([, count]) => count > 0),
      ),
      skipped: this.#skipped,
      failovers: this.#outcomes.filter(({ outcome }) => outcome.hasFailedOver).length,
      acknowledged: sum(({ acknowledged }) => acknowledged),
      lost: sum(({ lost }) => lost),
      asyncLost: {
        count: sum(({ asyncLost }) => asyncLost.count),
        windowMs: worst(({ asyncLost }) => asyncLost.windowMs),
      },
      overlaps: sum(({ overlaps }) => overlaps.count),
      overlapsAllowed: sum(({ overlaps }) => overlaps.allowed),
      overlapWorstMs: worst(({ overlaps }) => overlaps.worstMs),
      unavailableMs: spread(
        this.#outcomes
          .filter(({ plan, outcome }) => plan.mustFailOver || outcome.hasFailedOver)
          .map(({ outcome }) => outcome),
      ),
      unavailableMsByFault: Object.fromEntries(
        CLUSTER_FAULTS.map((name) => [name, this.#of(name)] as const)
          .filter(([, outcomes]) => outcomes.length > 0)
          .map(([name, outcomes]) => [name, spread(outcomes)]),
      ),
      violations: this.#violations,
    };
  }

  #of(name: ClusterFault): RoundOutcome[] {
    return this.#outcomes.filter(({ plan }) => plan.fault === name).map(({ outcome }) => outcome);
  }
}

function spread(outcomes: readonly RoundOutcome[]): Spread {
  const values = outcomes.map(({ unavailableMs }) => unavailableMs);
  return { median: median(values), worst: Math.max(0, ...values) };
}

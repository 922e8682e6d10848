import { createHash } from 'node:crypto';
import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import { majority } from '../../src/consensus/proposer.ts';
import { doesVote } from '../../src/consensus/voters.ts';
import type { AgentVoter, AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { CLUSTER, SimulatedClient } from './consensus-client.ts';
import { CORRECT_RULES, SimulatedAcceptor } from './consensus-world.ts';
import { SimulatedNetwork } from '../../src/testing/simulation/network.ts';
import { createRandom } from '../../src/testing/simulation/random.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import type { AcceptorRules } from './consensus-world.ts';
import { findViolation } from './register-history.ts';
import type { RegisterHistory } from './register-history.ts';

export interface Variant {
  readonly rules: AcceptorRules;
  readonly proposerIdOf: (client: string, start: number) => string;
  /** How many founders a proposer asks; below all of them its quorum need not meet another's. */
  readonly askedVoters: number;
  readonly distort: (reply: ConsensusReply) => ConsensusReply;
  /** Null where the founders vote for ever. */
  readonly changes: VoterChanges | null;
}

export interface VoterChanges {
  /** Registers besides the one that names the voters, each confirmed before a change. */
  readonly carries: readonly string[];
  /** How many voters one change adds or takes away. */
  readonly atOnce: number;
}

const PLAN = 'plan';
const NODES = ['a', 'b', 'c', 'd', 'e', 'f'].map(parseNodeId);
const MAX_VOTERS = 5;

export const CORRECT: Variant = {
  rules: CORRECT_RULES,
  proposerIdOf: (client, start) => `${client}${start}`,
  askedVoters: MAX_VOTERS,
  distort: (reply) => reply,
  changes: null,
};

export const CHANGING: Variant = { ...CORRECT, changes: { carries: [PLAN], atOnce: 1 } };

export interface SimulationResult {
  readonly violation: string | null;
  readonly steps: number;
  readonly applied: number;
  readonly reads: number;
  /** How often voters changed, as far as acceptors heard of it. */
  readonly changes: number;
  readonly lostFiles: number;
  readonly hash: string;
}

const FAULTS_END_MS = 1_600;
const HEALED_WITHIN_MS = 4_000;

/** One run: clients, acceptors and a bad network under one seed, then a healed world that must make progress. */
export async function simulate(seed: number, variant: Variant = CORRECT): Promise<SimulationResult> {
  const world = new World(seed, variant);
  return world.run();
}

class World {
  readonly #variant: Variant;
  readonly #random: () => number;
  readonly #time = new VirtualTime();
  readonly #network: SimulatedNetwork;
  #isFaulty = true;
  readonly #founders: readonly NodeId[];
  readonly #acceptors: ReadonlyMap<string, SimulatedAcceptor>;
  readonly #clients: readonly SimulatedClient[];
  readonly #histories: ReadonlyMap<string, RegisterHistory>;
  readonly #proposedVoters: AgentVoterSet[] = [];
  #lostFiles = 0;

  constructor(seed: number, variant: Variant) {
    const time = this.#time;
    const random = createRandom(seed);
    const { rules, changes } = variant;
    const founders = NODES.slice(0, changes === null ? 3 : 1 + Math.floor(random() * MAX_VOTERS));
    const names = changes === null ? founders : NODES;
    const acceptors = new Map(
      names.map((name) => [
        name,
        new SimulatedAcceptor(name, founders.includes(name), { time, random, rules }),
      ]),
    );
    this.#founders = founders;
    this.#variant = variant;
    this.#random = random;
    this.#network = new SimulatedNetwork(time, random, {
      quickestMs: 0.2,
      spreadMs: 3,
      faults: { doubledShare: 0.05, lostShare: 0.06, slowShare: 0.05, slowMs: 150 },
    });
    this.#acceptors = acceptors;
    const keys = changes === null ? [CLUSTER] : [CLUSTER, PLAN];
    this.#histories = new Map(keys.map((key) => [key, { observations: [], values: new Map(), watched: [] }]));
    this.#clients = ['p', 'q', 'r'].map(
      (name) =>
        new SimulatedClient(name, {
          time,
          random,
          network: this.#network,
          acceptors,
          founders,
          askedFounders: variant.askedVoters,
          histories: this.#histories,
          proposerIdOf: variant.proposerIdOf,
          distort: variant.distort,
          forgetsVoters: rules.forgetsVoters,
          carries: changes?.carries ?? [],
          nextVoters: (set) => this.#nextVoters(set),
        }),
    );
  }

  async run(): Promise<SimulationResult> {
    for (const client of this.#clients) client.start();
    this.#scheduleFault();
    await this.#time.settleUntil(FAULTS_END_MS);
    this.#heal();
    const aims = this.#histories.size * 2;
    const isRecovered = (): boolean => this.#clients.every(({ progress }) => progress.size === aims);
    await this.#time.settleUntil(FAULTS_END_MS + HEALED_WITHIN_MS, isRecovered);
    const histories = [...this.#histories.values()];
    const unsafe = histories.map(findViolation).find((violation) => violation !== null) ?? null;
    const observations = histories.flatMap((history) => history.observations);
    return {
      violation:
        unsafe ?? (isRecovered() ? null : `no progress within ${HEALED_WITHIN_MS} ms after all was healed`),
      steps: this.#time.steps,
      applied: observations.filter(({ kind }) => kind === 'applied').length,
      reads: observations.filter(({ kind }) => kind === 'read').length,
      changes: this.#newestVoters(),
      lostFiles: this.#lostFiles,
      hash: createHash('sha256').update(JSON.stringify(observations)).digest('hex'),
    };
  }

  #heal(): void {
    this.#isFaulty = false;
    this.#network.heal();
    for (const acceptor of this.#acceptors.values()) acceptor.restart();
    for (const client of this.#clients) {
      client.progress.clear();
      if (this.#isStranded(client)) {
        client.voters = this.#setOfEpoch(this.#newestVoters());
        client.start();
      }
    }
  }

  /** All that it knew of are gone, or know no more than it does: a person has to tell it where the cluster is. */
  #isStranded({ voters }: SimulatedClient): boolean {
    const epoch = voters?.epoch ?? 0;
    if (epoch >= this.#newestVoters()) return false;
    const names = voters?.voters.map(({ name }) => name) ?? this.#founders;
    return names.every((name) => (this.#acceptors.get(name)?.voters?.epoch ?? 0) <= epoch);
  }

  #newestVoters(): number {
    return Math.max(...[...this.#acceptors.values()].map(({ voters }) => voters?.epoch ?? 0));
  }

  #setOfEpoch(epoch: number): AgentVoterSet | null {
    const known = [...this.#acceptors.values()].map(({ voters }) => voters);
    return known.find((set) => set?.epoch === epoch) ?? null;
  }

  #nextVoters(set: AgentVoterSet): AgentVoterSet | null {
    const { changes } = this.#variant;
    if (changes === null || !this.#isFaulty) return null;
    let voters = set.voters;
    for (let change = 0; change < changes.atOnce; change++) voters = this.#changeOne(voters);
    const next = { epoch: set.epoch + 1, voters };
    if (
      voters.length === 0 ||
      voters.length > MAX_VOTERS ||
      !this.#hasMajority(next, (acceptor) => acceptor.isUp)
    )
      return null;
    this.#proposedVoters.push(next);
    return next;
  }

  #changeOne(voters: readonly AgentVoter[]): readonly AgentVoter[] {
    const name = this.#pick([...this.#acceptors.values()]).name;
    if (voters.some((voter) => voter.name === name)) return voters.filter((voter) => voter.name !== name);
    return [...voters, { name, url: '', acceptor: this.#acceptors.get(name)!.own.acceptor }];
  }

  #hasMajority({ voters, ...set }: AgentVoterSet, isGood: (acceptor: SimulatedAcceptor) => boolean): boolean {
    const good = voters.filter(({ name }) => {
      const acceptor = this.#acceptors.get(name)!;
      return doesVote(acceptor.own, { ...set, voters }) && isGood(acceptor);
    });
    return good.length >= majority(voters.length);
  }

  #scheduleFault(): void {
    this.#time.after(20 + this.#random() * 120, () => {
      if (this.#time.nowMs() >= FAULTS_END_MS) return;
      this.#inject(this.#random());
      this.#scheduleFault();
    });
  }

  #inject(dice: number): void {
    const acceptor = this.#pick([...this.#acceptors.values()]);
    const client = this.#pick(this.#clients);
    if (dice < 0.4) {
      if (this.#variant.changes !== null && dice < 0.12) this.#loseFile(acceptor);
      else acceptor.crash();
      this.#time.after(this.#random() * 150, () => acceptor.restart());
    } else if (dice < 0.5) {
      // The power fails, and comes back with the network.
      for (const each of this.#acceptors.values()) each.crash();
      this.#time.after(this.#random() * 100, () => {
        this.#network.mendAll();
        for (const each of this.#acceptors.values()) each.restart();
        for (const each of this.#clients) each.start();
      });
    } else if (dice < 0.7) {
      client.start();
    } else {
      // Who was cut off for long comes back with what it knew then.
      const lastsMs = this.#random() * (dice < 0.85 ? 200 : 800);
      for (const voter of this.#acceptors.keys()) {
        const link = `${client.name}-${voter}`;
        if (dice < 0.85 && this.#random() < 0.5) continue;
        this.#network.cut(link);
        this.#time.after(lastsMs, () => this.#network.mend(link));
      }
    }
  }

  /** Only where a majority is left of each set that votes, or may: what all of a majority forgot is gone. */
  #loseFile(acceptor: SimulatedAcceptor): void {
    const newest = this.#newestVoters();
    const founders = this.#founders.map((name) => ({ name, url: '', acceptor: null }));
    const sets = [{ epoch: 0, voters: founders }, ...this.#proposedVoters].filter(
      ({ epoch }) => epoch >= newest,
    );
    if (!sets.every((set) => this.#hasMajority(set, (other) => other !== acceptor))) return;
    this.#lostFiles++;
    acceptor.loseFile();
  }

  #pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#random() * items.length)]!;
  }
}

import type { Cell } from '../../../src/leaderless/core/cells.ts';
import { joinCells, keyId } from '../../../src/leaderless/core/cells.ts';
import type { Membership } from '../../../src/leaderless/core/membership.ts';
import { LockstepError } from '../../../src/model/errors.ts';
import type { Runtime } from '../../../src/leaderless/runtime.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import { removedLines, runClient } from './clients.ts';
import { Deletions } from './deletions.ts';
import { Ledger } from './ledger.ts';
import type { Wire } from './link.ts';
import { ModelNode } from './model-node.ts';
import { SERVER_RULES } from './node-rules.ts';
import type { NodeRules } from './node-rules.ts';
import type { Setup } from './mutants.ts';
import { SimulatedProcess } from './process.ts';

export interface LeaderlessResult {
  readonly violations: Ledger['violations'];
  readonly steps: number;
  readonly transcript: readonly string[];
  readonly acknowledged: number;
  readonly unknown: number;
  readonly reads: number;
  /** Tombstones and slots that nodes have forgotten. */
  readonly forgotten: number;
  readonly erased: number;
  /** Changes of members that ended. */
  readonly changes: number;
}

const NODES = 3;
const PROCESSES = 3;
const CALLERS = 2;
const OPEN_MS = 2_500;
const HEALED_MS = 6_000;
const MAX_CLOCK_ERROR_MS = 3_000;
/** Shorter than messages are under way, where deletions are forgotten. */
const KEEP_MS = 150;
const EPOCH_MS = 1_700_000_000_000;

interface Life {
  isAlive: boolean;
  clockErrorMs: number;
  /** Nothing of the process runs before. */
  suspendedUntilMs: number;
}

class World {
  readonly time = new VirtualTime();
  readonly random: () => number;
  readonly ledger = new Ledger();
  readonly deletions = new Deletions();
  readonly setup: Setup;
  readonly nodes: ModelNode[];
  readonly processes: SimulatedProcess[] = [];
  /** Whether members are replaced, added and removed. */
  readonly changes: boolean;
  readonly #rules: NodeRules;
  readonly #founding: Membership;
  #changed = 0;
  readonly #joined = new Map<string, number>();
  changesDone = 0;
  readonly lives: Life[] = [];
  readonly transcript: string[] = [];
  readonly #seed: number;
  /** Whether deletions are forgotten while messages from before are still under way. */
  readonly forgets: boolean;
  readonly #cuts = new Set<string>();
  slowShare = 0.02;
  #names = 0;

  constructor(seed: number, setup: Setup) {
    this.#seed = seed;
    this.random = createRandom(seed);
    this.setup = setup;
    this.#rules = {
      ...SERVER_RULES,
      join: setup.join ?? joinCells,
      isDurable: setup.isDurable ?? true,
      ...setup.node,
    };
    this.changes = seed % 3 === 1;
    this.forgets = seed % 3 === 0;
    if (this.forgets) this.slowShare = 0.06;
    this.nodes = [];
    const founders = Array.from({ length: NODES }, (_, index) => `q${index + 1}`);
    this.#founding = { epoch: 1, cluster: 'c', members: founders, next: null, addresses: {} };
    for (const name of founders) this.#addNode(name, this.#founding);
    removedLines.set(this.ledger, []);
    for (let index = 0; index < PROCESSES; index++) this.startProcess(index);
  }

  #addNode(name: string, membership: Membership): void {
    this.nodes.push(new ModelNode(name, membership, this.#rules, () => EPOCH_MS + this.time.nowMs()));
  }

  /** The latest that any node knows. */
  membership(): Membership {
    return this.nodes.reduce(
      (latest, { membership }) => (membership.epoch > latest.epoch ? membership : latest),
      this.#founding,
    );
  }

  /** Ends the change that is under way, or begins one. */
  async changeMembers(process: SimulatedProcess, deadlineMs: number): Promise<void> {
    const { members, next } = this.membership();
    const wanted = next ?? this.#chooseMembers(members);
    this.say(`members are to be ${wanted.join(', ')}`);
    try {
      await process.changeMembers(wanted, deadlineMs);
      this.changesDone += 1;
      this.say(`members are ${wanted.join(', ')}`);
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
    }
  }

  needsChange(): boolean {
    const { members, next } = this.membership();
    return next !== null || this.nodes.some(({ name, isLost }) => isLost && members.includes(name));
  }

  #chooseMembers(members: readonly string[]): readonly string[] {
    const added = Array.from({ length: 2 }, () => `q${++this.#changed + NODES}`);
    for (const name of added) {
      this.#addNode(name, { ...this.#founding, epoch: 0, members: [] });
      this.#joined.set(name, this.time.nowMs());
    }
    const lost = this.nodes.find(({ name, isLost }) => isLost && members.includes(name));
    if (lost !== undefined) return members.map((name) => (name === lost.name ? (added[0] as string) : name));
    const leaving = Math.floor(this.random() * members.length);
    if (members.length === 5)
      return members.filter((_, index) => index !== leaving && index !== (leaving + 1) % 5);
    if (this.random() < 0.4) return [...members, ...added];
    const left = this.nodes.find(({ name }) => name === members[leaving]);
    if (left !== undefined && this.random() < 0.5) {
      left.isLost = true;
      this.#crash(left, 0);
    }
    return members.map((name, index) => (index === leaving ? (added[0] as string) : name));
  }

  say(what: string): void {
    this.transcript.push(`${this.time.nowMs().toFixed(1)} ${what}`);
  }

  startProcess(index: number): SimulatedProcess {
    const before = this.lives[index];
    if (before !== undefined) before.isAlive = false;
    const life: Life = { isAlive: true, clockErrorMs: this.#clockErrorMs(), suspendedUntilMs: 0 };
    this.lives[index] = life;
    const process = new SimulatedProcess({
      membership: this.membership(),
      nodeNamed: (name) => this.nodes.find((node) => node.name === name) as ModelNode,
      runtime: this.#runtimeOf(index, life),
      wireTo: (node) => this.#wireOf(index, node),
      ...withHints(this.#seed),
      keepMs: this.forgets ? KEEP_MS : 60_000,
      ...this.setup.process,
    });
    this.processes[index] = process;
    for (let caller = 0; caller < CALLERS; caller++) {
      void runClient(process, {
        ledger: this.ledger,
        deletions: this.deletions,
        deletes: this.forgets,
        nowMs: () => this.time.nowMs(),
        random: this.random,
        sleep: (ms) => this.time.sleep(ms),
        isOpen: () => life.isAlive && this.time.nowMs() < OPEN_MS,
        uniqueTag: () => `t${++this.#names}`,
      }).catch((error: unknown) => {
        this.ledger.violations.push({
          invariant: 'only expected errors',
          what: String((error as Error).stack),
        });
      });
    }
    return process;
  }

  #runtimeOf(index: number, life: Life): Runtime {
    const after = (ms: number, run: () => void): (() => void) => {
      let cancel: () => void;
      const fire = (): void => {
        const waitMs = life.suspendedUntilMs - this.time.nowMs();
        if (waitMs > 0) cancel = this.time.after(waitMs, fire);
        else if (life.isAlive) run();
      };
      cancel = this.time.after(ms, fire);
      return () => cancel();
    };
    return {
      nowMs: () => EPOCH_MS + this.time.nowMs() + life.clockErrorMs,
      monotonicMs: () => this.time.nowMs(),
      after,
      soon: (run) => void after(0, run),
      random: this.random,
      uniqueName: () => (this.setup.reusesNames === true ? `p${index}` : `p${index}-${++this.#names}`),
    };
  }

  #wireOf(index: number, node: ModelNode): Wire {
    return {
      isCut: () => this.#cuts.has(`${index} ${node.name}`),
      delayMs: () =>
        this.random() < (this.#isNew(node) ? 0.4 : this.slowShare)
          ? 50 + this.random() * (this.forgets ? 1_500 : 400)
          : 0.3 - Math.log(1 - this.random()) * 1.5,
      after: (ms, run) => void this.time.after(ms, run),
      commitMs: () => (this.random() < this.slowShare ? 20 + this.random() * 300 : 0.5 + this.random() * 4),
      random: this.random,
    };
  }

  /** Where deletions are forgotten soon, a clock that is far off would only be refused. */
  #clockErrorMs(): number {
    return (this.random() - 0.5) * 2 * (this.forgets ? 100 : MAX_CLOCK_ERROR_MS);
  }

  /** One that has just come is slow, so that others go on without it. */
  #isNew({ name }: ModelNode): boolean {
    const joinedAtMs = this.#joined.get(name);
    return joinedAtMs !== undefined && this.time.nowMs() < Math.min(joinedAtMs + 900, OPEN_MS);
  }

  disturb(): void {
    if (this.time.nowMs() >= OPEN_MS) return;
    const node = this.nodes[Math.floor(this.random() * this.nodes.length)] as ModelNode;
    if (this.changes && this.#changed < 8 && this.random() < 0.25) {
      const process = this.processes[Math.floor(this.random() * PROCESSES)];
      if (process !== undefined) void this.changeMembers(process, 3_000);
    }
    const index = Math.floor(this.random() * PROCESSES);
    const fault = Math.floor(this.random() * (this.forgets ? 14 : 10));
    if (fault <= 1) this.#crash(node, 20 + this.random() * 400);
    else if (fault === 2) for (const each of this.nodes) this.#crash(each, 20 + this.random() * 700);
    else if (fault === 3) {
      this.#cuts.add(`${index} ${node.name}`);
      this.say(`process ${index} is cut from ${node.name}`);
    } else if (fault === 4) {
      this.#cuts.clear();
      this.say('no link is cut');
    } else if (fault === 5) {
      this.say(`process ${index} starts anew`);
      this.startProcess(index);
    } else if (fault === 6) {
      const life = this.lives[index];
      if (life !== undefined) life.clockErrorMs = this.#clockErrorMs();
      this.say(`the clock of process ${index} jumps`);
    } else if (fault === 7) {
      for (const each of this.nodes) this.#cuts.add(`${index} ${each.name}`);
      this.say(`process ${index} is cut from all nodes`);
    } else if (fault >= 9) {
      const life = this.lives[index];
      const forMs = 50 + this.random() * 900;
      if (life !== undefined) life.suspendedUntilMs = this.time.nowMs() + forMs;
      this.say(`process ${index} is suspended for ${forMs.toFixed(0)} ms`);
    } else if (!this.forgets) this.slowShare = this.random() * 0.2;
    this.time.after(30 + this.random() * 250, () => this.disturb());
  }

  #crash(node: ModelNode, forMs: number): void {
    if (!node.isUp) return;
    node.crash();
    this.say(`${node.name} crashes for ${forMs.toFixed(0)} ms`);
    this.time.after(forMs, () => {
      node.isUp = !node.isLost;
    });
  }

  heal(): void {
    this.#cuts.clear();
    this.slowShare = 0;
    for (const node of this.nodes) node.isUp = !node.isLost;
    for (const life of this.lives) life.suspendedUntilMs = 0;
  }
}

/** One run: faults and work, then everything heals and is looked at. */
export async function runLeaderless(seed: number, setup: Setup = {}): Promise<LeaderlessResult> {
  const world = new World(seed, setup);
  const { time, ledger } = world;
  time.after(50, () => world.disturb());
  await time.settleUntil(OPEN_MS);
  world.heal();
  await time.settleUntil(HEALED_MS);
  compareNodes(world, 'without anybody reading');
  await look(world);
  for (const what of world.deletions.check())
    ledger.violations.push({ invariant: 'keys that are made and deleted are linearizable', what });
  return {
    violations: ledger.violations,
    steps: time.steps,
    transcript: world.transcript,
    acknowledged: ledger.acknowledged,
    unknown: ledger.unknown,
    reads: ledger.reads,
    forgotten: world.nodes.reduce((sum, { forgotten }) => sum + forgotten, 0),
    changes: world.changesDone,
    erased: world.nodes.reduce((sum, { erased }) => sum + erased, 0),
  };
}

/** A new process reads everything from all nodes, which must work now, and be the same at each afterwards. */
async function look(world: World): Promise<void> {
  const { ledger, time } = world;
  const process = world.startProcess(0);
  let isDone = false;
  const looking = (async () => {
    // Whatever was begun is ended, and who was lost is replaced: by anybody.
    for (let times = 0; times < 3 && world.needsChange(); times++) await world.changeMembers(process, 1_000);
    await time.sleep(200);
    for (const key of ['c1', 'c2']) {
      const { value } = await process.carts.get(key, { level: 'all' });
      const quantityOf = (sku: string): number => value.find((line) => line.sku === sku)?.quantity ?? 0;
      for (const line of ledger.lines.filter((name) => name.startsWith(`${key} `)))
        ledger.finalLine(line, quantityOf(line.slice(key.length + 1)), world.changes);
      for (const line of removedLines.get(ledger) ?? [])
        if (line.startsWith(`${key} `)) ledger.removedIsBack(line, quantityOf(line.slice(key.length + 1)));
    }
    for (const key of world.deletions.pastDeals) {
      const startedAt = time.nowMs();
      const { value } = await process.deals.get(key);
      world.deletions.record(key, { f: 'get', value: value ?? null }, startedAt, time.nowMs());
    }
    for (const key of world.deletions.gone)
      if ((await process.prefs.get(key, { level: 'all' })).value !== undefined) ledger.deletedIsBack(key);
    for (const key of ['k1', 'k2']) {
      const before = ledger.newestOf(key);
      ledger.sawVersion(key, (await process.prefs.get(key, { level: 'all' })).version, before);
      const { floor } = ledger.logOf(key);
      ledger.logOf(key).saw((await process.logs.get(key)).value ?? [], floor);
      const end = await process.logs.update(key, (list) => [...(list ?? []), 'end']);
      if (end.kind !== 'applied') throw new Error(`a healed majority did not apply a change: ${end.kind}`);
      ledger.logOf(key).saw(end.value ?? [], floor);
    }
  })()
    .catch((error: unknown) => {
      ledger.violations.push({ invariant: 'a healed majority makes progress', what: String(error) });
    })
    .finally(() => {
      isDone = true;
    });
  await time.settleUntil(HEALED_MS + 5_000, () => isDone);
  await time.settleUntil(time.nowMs() + 500);
  if (!isDone)
    ledger.violations.push({ invariant: 'a healed majority makes progress', what: 'it did not end' });
  else await looking;
  compareNodes(world, 'after everything was read');
}

/** Nobody writes any more: what each node lacked has been brought to it. */
function compareNodes(world: World, when: string): void {
  const { members, next } = world.membership();
  // One that joins has not everything yet.
  if (next !== null) return;
  const { ledger } = world;
  const nodes = world.nodes.filter(({ name, isLost }) => members.includes(name) && !isLost);
  for (const id of [keyId('carts', 'c1'), keyId('carts', 'c2'), keyId('prefs', 'k1'), keyId('prefs', 'k2')]) {
    const states = new Set(nodes.map((node) => renderCells(node.cellsOf(id))));
    if (states.size > 1)
      ledger.violations.push({
        invariant: 'all nodes are the same in the end',
        what: `${id.replace('\u0000', ' ')} ${when}`,
      });
  }
}

/** For each seed either with hints, or with catch-up alone. */
function withHints(seed: number): Setup['process'] {
  return { hasHints: seed % 2 === 0 };
}

function renderCells(cells: ReadonlyMap<string, Cell>): string {
  return [...cells]
    .map(([id, cell]) =>
      cell.store === 'registers'
        ? `${id} ${cell.value} ${cell.at} ${cell.writer}`
        : `${id} ${cell.added} ${cell.removed}`,
    )
    .sort()
    .join('\n');
}

import type { Cell } from '../../../src/leaderless/core/cells.ts';
import { joinCells, keyId } from '../../../src/leaderless/core/cells.ts';
import type { Runtime } from '../../../src/leaderless/runtime.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import { removedLines, runClient } from './clients.ts';
import { Ledger } from './ledger.ts';
import type { Wire } from './link.ts';
import { ModelNode } from './model-node.ts';
import type { Setup } from './mutants.ts';
import { SimulatedProcess } from './process.ts';

export interface LeaderlessResult {
  readonly violations: Ledger['violations'];
  readonly steps: number;
  readonly transcript: readonly string[];
  readonly acknowledged: number;
  readonly unknown: number;
  readonly reads: number;
}

const NODES = 3;
const PROCESSES = 3;
const CALLERS = 2;
const OPEN_MS = 2_500;
const HEALED_MS = 6_000;
const MAX_CLOCK_ERROR_MS = 3_000;

interface Life {
  isAlive: boolean;
  clockErrorMs: number;
}

class World {
  readonly time = new VirtualTime();
  readonly random: () => number;
  readonly ledger = new Ledger();
  readonly setup: Setup;
  readonly nodes: readonly ModelNode[];
  readonly lives: Life[] = [];
  readonly transcript: string[] = [];
  readonly #seed: number;
  readonly #cuts = new Set<string>();
  slowShare = 0.02;
  #names = 0;

  constructor(seed: number, setup: Setup) {
    this.#seed = seed;
    this.random = createRandom(seed);
    this.setup = setup;
    const rules = {
      join: setup.join ?? joinCells,
      isDurable: setup.isDurable ?? true,
    };
    this.nodes = Array.from({ length: NODES }, (_, index) => new ModelNode(`q${index + 1}`, rules));
    removedLines.set(this.ledger, []);
    for (let index = 0; index < PROCESSES; index++) this.startProcess(index);
  }

  say(what: string): void {
    this.transcript.push(`${this.time.nowMs().toFixed(1)} ${what}`);
  }

  startProcess(index: number): SimulatedProcess {
    const before = this.lives[index];
    if (before !== undefined) before.isAlive = false;
    const life: Life = { isAlive: true, clockErrorMs: (this.random() - 0.5) * 2 * MAX_CLOCK_ERROR_MS };
    this.lives[index] = life;
    const process = new SimulatedProcess({
      nodes: this.nodes,
      runtime: this.#runtimeOf(index, life),
      wireTo: (node) => this.#wireOf(index, node),
      ...withHints(this.#seed),
      ...this.setup.process,
    });
    for (let caller = 0; caller < CALLERS; caller++) {
      void runClient(process, {
        ledger: this.ledger,
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
    const after = (ms: number, run: () => void): (() => void) =>
      this.time.after(ms, () => {
        if (life.isAlive) run();
      });
    return {
      nowMs: () => 1_700_000_000_000 + this.time.nowMs() + life.clockErrorMs,
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
        this.random() < this.slowShare ? 50 + this.random() * 400 : 0.3 - Math.log(1 - this.random()) * 1.5,
      after: (ms, run) => void this.time.after(ms, run),
      commitMs: () => (this.random() < this.slowShare ? 20 + this.random() * 300 : 0.5 + this.random() * 4),
      random: this.random,
    };
  }

  disturb(): void {
    if (this.time.nowMs() >= OPEN_MS) return;
    const node = this.nodes[Math.floor(this.random() * NODES)] as ModelNode;
    const index = Math.floor(this.random() * PROCESSES);
    const fault = Math.floor(this.random() * 9);
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
      if (life !== undefined) life.clockErrorMs = (this.random() - 0.5) * 2 * MAX_CLOCK_ERROR_MS;
      this.say(`the clock of process ${index} jumps`);
    } else if (fault === 7) {
      for (const each of this.nodes) this.#cuts.add(`${index} ${each.name}`);
      this.say(`process ${index} is cut from all nodes`);
    } else this.slowShare = this.random() * 0.2;
    this.time.after(30 + this.random() * 250, () => this.disturb());
  }

  #crash(node: ModelNode, forMs: number): void {
    if (!node.isUp) return;
    node.crash();
    this.say(`${node.name} crashes for ${forMs.toFixed(0)} ms`);
    this.time.after(forMs, () => {
      node.isUp = true;
    });
  }

  heal(): void {
    this.#cuts.clear();
    this.slowShare = 0;
    for (const node of this.nodes) node.isUp = true;
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
  return {
    violations: ledger.violations,
    steps: time.steps,
    transcript: world.transcript,
    acknowledged: ledger.acknowledged,
    unknown: ledger.unknown,
    reads: ledger.reads,
  };
}

/** A new process reads everything from all nodes, which must work now, and be the same at each afterwards. */
async function look(world: World): Promise<void> {
  const { ledger, time } = world;
  const process = world.startProcess(0);
  let isDone = false;
  const looking = (async () => {
    for (const key of ['c1', 'c2']) {
      const { value } = await process.carts.get(key, { level: 'all' });
      const quantityOf = (sku: string): number => value.find((line) => line.sku === sku)?.quantity ?? 0;
      for (const line of ledger.lines.filter((name) => name.startsWith(`${key} `)))
        ledger.finalLine(line, quantityOf(line.slice(key.length + 1)));
      for (const line of removedLines.get(ledger) ?? [])
        if (line.startsWith(`${key} `)) ledger.removedIsBack(line, quantityOf(line.slice(key.length + 1)));
    }
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
function compareNodes({ nodes, ledger }: World, when: string): void {
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

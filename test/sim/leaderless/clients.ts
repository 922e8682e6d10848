import { LockstepError } from '../../../src/model/errors.ts';
import type { WriteLevel } from '../../../src/leaderless/core/levels.ts';
import { changeDeal, lookForDeal, lookForDeleted, makeAndDelete, putAndDelete } from './deletions.ts';
import type { Deletions } from './deletions.ts';
import type { Ledger } from './ledger.ts';
import type { SimulatedProcess } from './process.ts';

export interface ClientWorld {
  readonly ledger: Ledger;
  readonly deletions: Deletions;
  /** Whether much is taken away. */
  readonly deletes: boolean;
  nowMs(): number;
  random(): number;
  sleep(ms: number): Promise<void>;
  /** Whether new work is begun. */
  isOpen(): boolean;
  uniqueTag(): string;
}

const CARTS = ['c1', 'c2'];
const KEYS = ['k1', 'k2'];
const GROWING = ['tea', 'cup'];

/** One caller after another piece of work, until the world closes. It ends with its process, which answers no more. */
export async function runClient(process: SimulatedProcess, world: ClientWorld): Promise<void> {
  const work = world.deletes
    ? [
        addToCart,
        takeOut,
        putAndDelete,
        lookForDeleted,
        changeDeal,
        changeDeal,
        makeAndDelete,
        makeAndDelete,
        lookForDeal,
        lookForDeal,
      ]
    : [addToCart, addToCart, readCart, putAndGet, changeLog, changeLog, readLog, takeOut];
  while (world.isOpen()) {
    const step = work[Math.floor(world.random() * work.length)] ?? readCart;
    await step(process, world);
    if (world.random() < 0.4) await world.sleep(world.random() * 30);
  }
}

function pick<T>(items: readonly T[], world: ClientWorld): T {
  return items[Math.floor(world.random() * items.length)] as T;
}

function outcomeOf(error: unknown): 'unknown' | 'not-applied' {
  if (!(error instanceof LockstepError)) throw error;
  return error.outcome === 'not-applied' ? 'not-applied' : 'unknown';
}

async function addToCart({ carts }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = pick(CARTS, world);
  const sku = pick(GROWING, world);
  const quantity = 1 + Math.floor(world.random() * 3);
  const level: WriteLevel = world.random() < 0.3 ? 'accept' : 'quorum';
  const line = world.ledger.lineOf(`${key} ${sku}`);
  // Its process may be gone before it learns what became of it.
  line.doubtful += quantity;
  try {
    await carts.add(key, { sku, quantity }, { level });
    line.doubtful -= quantity;
    line.acknowledged += quantity;
    if (level === 'quorum') line.quorum += quantity;
    world.ledger.acknowledged += 1;
  } catch (error) {
    if (outcomeOf(error) === 'not-applied') line.doubtful -= quantity;
    else world.ledger.unknown += 1;
  }
}

async function readCart({ carts }: SimulatedProcess, { ledger, ...world }: ClientWorld): Promise<void> {
  const key = CARTS[Math.floor(world.random() * CARTS.length)] ?? '';
  const before = new Map(GROWING.map((sku) => [sku, { ...ledger.lineOf(`${key} ${sku}`) }]));
  try {
    const { value } = await carts.get(key);
    for (const [sku, known] of before)
      ledger.sawLine(`${key} ${sku}`, value.find((line) => line.sku === sku)?.quantity ?? 0, known);
  } catch (error) {
    outcomeOf(error);
  }
}

/** A line of its own: put in, taken out, and looked for. */
async function takeOut({ carts }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = pick(CARTS, world);
  const sku = `own-${world.uniqueTag()}`;
  try {
    for (let times = 0; times < 2; times++) {
      // Time enough for what was taken out to be forgotten.
      if (times > 0 && world.deletes) await world.sleep(world.random() * 900);
      await carts.add(key, { sku, quantity: 2 });
      const { value: before } = await carts.get(key);
      world.ledger.hasAll(`${key} ${sku}`, before.find((line) => line.sku === sku)?.quantity ?? 0, 2);
      await carts.remove(key, sku);
      const { value } = await carts.get(key);
      world.ledger.removedIsBack(`${key} ${sku}`, value.find((line) => line.sku === sku)?.quantity ?? 0);
    }
    removedLines.get(world.ledger)?.push(`${key} ${sku}`);
  } catch (error) {
    outcomeOf(error);
  }
}

/** Lines whose every add and removal was acknowledged. */
export const removedLines: WeakMap<Ledger, string[]> = new WeakMap();

async function putAndGet({ prefs }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const { ledger } = world;
  const key = pick(KEYS, world);
  try {
    const before = ledger.newestOf(key);
    const got = await prefs.get(key);
    ledger.sawVersion(key, got.version, before);
    const newest = ledger.newestOf(key);
    const { version } = await prefs.put(key, world.uniqueTag());
    ledger.wroteAfterRead(key, version, got.version);
    ledger.acknowledgedVersion(key, version, newest);
  } catch (error) {
    outcomeOf(error);
  }
}

async function changeLog({ logs }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = pick(KEYS, world);
  const tag = world.uniqueTag();
  const history = world.ledger.logOf(key);
  const { floor } = history;
  try {
    const result = await logs.update(key, (list) => [...(list ?? []), tag]);
    if (result.kind === 'unknown') {
      world.ledger.unknown += 1;
      if (world.random() < 0.7) await settle(logs, result.operation, tag, key, world);
      return;
    }
    world.ledger.acknowledged += 1;
    history.saw(result.value ?? [], floor);
    history.applied(tag);
  } catch (error) {
    if (outcomeOf(error) === 'not-applied') history.refused(tag);
  }
}

async function settle(
  logs: SimulatedProcess['logs'],
  operation: Parameters<SimulatedProcess['logs']['settle']>[0],
  tag: string,
  key: string,
  world: ClientWorld,
): Promise<void> {
  for (let times = 0; times < 3 && world.isOpen(); times++) {
    await world.sleep(50);
    const settled = await logs.settle(operation).catch(outcomeOf);
    if (settled === 'unknown') continue;
    const history = world.ledger.logOf(key);
    if (settled === 'not-applied') {
      history.refused(tag);
      return;
    }
    const { floor } = history;
    const read = await logs.get(key).catch(() => null);
    if (read === null) return;
    history.saw(read.value ?? [], floor);
    history.applied(tag);
    return;
  }
}

async function readLog({ logs }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = pick(KEYS, world);
  const history = world.ledger.logOf(key);
  const { floor } = history;
  try {
    const { value } = await logs.get(key);
    world.ledger.reads += 1;
    history.saw(value ?? [], floor);
  } catch (error) {
    outcomeOf(error);
  }
}

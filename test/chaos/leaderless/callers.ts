import { cart, cas } from '../../../src/leaderless/index.ts';
import type { CartCollection, CasCollection, Quorum } from '../../../src/leaderless/index.ts';
import { LockstepError } from '../../../src/model/errors.ts';
import type { RegisterOperation } from '../../../src/testing/core/register-model.ts';
import type { CallEnd, Recorder } from './recorder.ts';

export interface CallerWorld {
  readonly recorder: Recorder;
  readonly random: () => number;
  isOpen(): boolean;
  /** Keys are left behind after a while, so that few unknown calls come together at one. */
  key(): string;
  readonly carts: CartLedger;
}

/** What every line of every cart must hold. */
export class CartLedger {
  readonly #lines = new Map<string, { acknowledged: number; begun: number; seen: number }>();
  readonly violations: string[] = [];
  adds = 0;
  reads = 0;
  removals = 0;

  line(name: string): { acknowledged: number; begun: number; seen: number } {
    let known = this.#lines.get(name);
    if (known === undefined) this.#lines.set(name, (known = { acknowledged: 0, begun: 0, seen: 0 }));
    return known;
  }

  saw(name: string, quantity: number, before: { acknowledged: number; seen: number }): void {
    this.reads += 1;
    const line = this.line(name);
    if (quantity < before.acknowledged)
      this.violations.push(`${name}: ${quantity} seen after ${before.acknowledged} were acknowledged`);
    if (quantity < before.seen)
      this.violations.push(`${name}: ${quantity} seen after ${before.seen} had been seen`);
    if (quantity > line.begun)
      this.violations.push(`${name}: ${quantity} seen, ${line.begun} were ever added`);
    line.seen = Math.max(line.seen, quantity);
  }
}

const CARTS = 6;

/** One caller, until the world closes. */
export async function call(opened: Quorum, world: CallerWorld): Promise<void> {
  const registers = opened.collection('registers', cas<string>());
  const carts = opened.collection('carts', cart());
  let process = world.recorder.nextProcess();
  for (let count = 0; world.isOpen(); count++) {
    const choice = world.random();
    if (choice < 0.6) {
      const isKnown = await callRegister(registers, process, world, `t${process}.${count}`);
      if (!isKnown) process = world.recorder.nextProcess();
    } else if (choice < 0.8) await addToCart(carts, world);
    else if (choice < 0.95) await readCart(carts, world);
    else await putInAndTakeOut(carts, world, `own-${process}-${count}`);
  }
}

async function callRegister(
  registers: CasCollection<string>,
  process: number,
  world: CallerWorld,
  tag: string,
): Promise<boolean> {
  const key = world.key();
  const kind = (['get', 'get', 'create', 'append', 'append', 'cas', 'delete'] as const)[
    Math.floor(world.random() * 7)
  ];
  const from = kind === 'cas' ? await registers.get(key).catch(() => null) : null;
  if (kind === 'cas' && from?.value === undefined) return true;
  const doubtful: Record<string, RegisterOperation> = {
    get: { f: 'get', value: null },
    create: { f: 'create', to: tag },
    append: { f: 'append', tag, value: null },
    cas: { f: 'cas', from: from?.value ?? '', to: tag },
    delete: { f: 'delete', isApplied: true },
  };
  const operation = doubtful[kind ?? 'get'] as RegisterOperation;
  const end = world.recorder.begin(process, operation.f, key, operation);
  let result: CallEnd;
  try {
    result = await perform(registers, key, operation, from?.version ?? 0);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    result = { type: error.outcome === 'not-applied' ? 'fail' : 'info', operation };
  }
  end(result);
  return result.type !== 'info';
}

async function perform(
  registers: CasCollection<string>,
  key: string,
  operation: RegisterOperation,
  version: number,
): Promise<CallEnd> {
  switch (operation.f) {
    case 'get':
      return { type: 'ok', operation: { f: 'get', value: (await registers.get(key)).value ?? null } };
    case 'create':
    case 'cas': {
      const result =
        operation.f === 'create'
          ? await registers.create(key, operation.to)
          : await registers.compareAndSet(key, version, operation.to);
      if (result.kind === 'unknown') return { type: 'info', operation };
      const found = result.kind === 'applied' ? {} : { found: result.value ?? null };
      return { type: 'ok', operation: { ...operation, ...found } };
    }
    case 'append': {
      const { tag } = operation;
      const result = await registers.update(key, (text) => (text === undefined ? tag : `${text} ${tag}`));
      if (result.kind === 'unknown') return { type: 'info', operation };
      return { type: 'ok', operation: { f: 'append', tag, value: result.value ?? null } };
    }
    case 'delete': {
      const result = await registers.delete(key);
      if (result.kind === 'unknown') return { type: 'info', operation };
      return { type: 'ok', operation: { f: 'delete', isApplied: result.kind === 'applied' } };
    }
  }
}

async function addToCart(carts: CartCollection, { carts: ledger, random }: CallerWorld): Promise<void> {
  const key = `c${Math.floor(random() * CARTS)}`;
  const line = ledger.line(key);
  line.begun += 1;
  try {
    await carts.add(key, { sku: 'grows', quantity: 1 });
    line.acknowledged += 1;
    ledger.adds += 1;
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    if (error.outcome === 'not-applied') line.begun -= 1;
  }
}

async function readCart(carts: CartCollection, { carts: ledger, random }: CallerWorld): Promise<void> {
  const key = `c${Math.floor(random() * CARTS)}`;
  const before = { ...ledger.line(key) };
  try {
    const { value } = await carts.get(key);
    ledger.saw(key, value.find(({ sku }) => sku === 'grows')?.quantity ?? 0, before);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
}

async function putInAndTakeOut(
  carts: CartCollection,
  { carts: ledger, random }: CallerWorld,
  sku: string,
): Promise<void> {
  const key = `c${Math.floor(random() * CARTS)}`;
  try {
    await carts.add(key, { sku, quantity: 2 });
    await carts.remove(key, sku);
    ledger.removals += 1;
    for (let times = 0; times < 3; times++) {
      const { value } = await carts.get(key);
      if (value.some((line) => line.sku === sku))
        ledger.violations.push(`${key}: ${sku} is back after it was removed`);
    }
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
}

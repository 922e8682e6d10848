import { LockstepError } from '../../../src/model/errors.ts';
import { findNonlinearizable } from '../../../src/testing/core/linearizability.ts';
import type { TimedCall } from '../../../src/testing/core/linearizability.ts';
import { REGISTER_MODEL } from '../../../src/testing/core/register-model.ts';
import type { RegisterOperation } from '../../../src/testing/core/register-model.ts';
import type { ClientWorld } from './clients.ts';
import type { SimulatedProcess } from './process.ts';

/** Keys that are made, taken away and made again, while the nodes forget what was taken away. */
export class Deletions {
  /** Keys of values that were written once and deleted, all acknowledged. */
  readonly gone: Set<string> = new Set();
  /** Compare-and-set keys that were made once, and mostly deleted. */
  readonly pastDeals: string[] = [];
  readonly #calls = new Map<string, TimedCall<RegisterOperation>[]>();

  /** A call under way: unknown, unless it is taken back. */
  begin(key: string, operation: RegisterOperation, invokedAt: number): () => void {
    this.record(key, operation, invokedAt, null);
    const calls = this.#calls.get(key) ?? [];
    const call = calls.at(-1);
    return () => {
      if (call !== undefined) calls.splice(calls.indexOf(call), 1);
    };
  }

  record(key: string, operation: RegisterOperation, invokedAt: number, returnedAt: number | null): void {
    const calls = this.#calls.get(key);
    const call = { operation, invokedAt, returnedAt };
    if (calls === undefined) this.#calls.set(key, [call]);
    else calls.push(call);
  }

  /** A sentence for each key whose calls do not fit one order. */
  check(): readonly string[] {
    return [...this.#calls].flatMap(([key, calls]) => {
      const stuck = findNonlinearizable(calls, REGISTER_MODEL);
      return stuck === null
        ? []
        : [`${key}: ${JSON.stringify(stuck.operation)} from ${stuck.invokedAt} to ${stuck.returnedAt}`];
    });
  }
}

const DEALS = ['d1', 'd2', 'd3'];

/** One call on a key that many make and delete. */
export async function changeDeal(process: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = DEALS[Math.floor(world.random() * DEALS.length)] ?? '';
  await callDeal(process, world, key, Math.floor(world.random() * 5));
}

/** A key of one caller: made, deleted, and left alone, so that it is erased. */
export async function makeAndDelete(process: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = `deal-${world.uniqueTag()}`;
  world.deletions.pastDeals.push(key);
  await callDeal(process, world, key, 1);
  await callDeal(process, world, key, 2);
}

/** One of them, some time later. */
export async function lookForDeal(process: SimulatedProcess, world: ClientWorld): Promise<void> {
  const { pastDeals } = world.deletions;
  const key = pastDeals[Math.floor(world.random() * pastDeals.length)];
  if (key !== undefined) await callDeal(process, world, key, 0);
}

async function callDeal(
  { deals }: SimulatedProcess,
  world: ClientWorld,
  key: string,
  kind: number,
): Promise<void> {
  const tag = world.uniqueTag();
  const startedAt = world.nowMs();
  const end = (operation: RegisterOperation): void =>
    world.deletions.record(key, operation, startedAt, world.nowMs());
  // Until it is answered, and if its process ends before.
  let doubtful: RegisterOperation | null = null;
  if (kind === 1) doubtful = { f: 'create', to: tag };
  if (kind === 2 || kind === 4) doubtful = { f: 'delete', isApplied: true };
  if (kind === 3) doubtful = { f: 'append', tag, value: null };
  const pending = doubtful === null ? null : world.deletions.begin(key, doubtful, startedAt);
  try {
    if (kind === 0) {
      end({ f: 'get', value: (await deals.get(key)).value ?? null });
    } else if (kind === 1) {
      const result = await deals.create(key, tag);
      if (result.kind === 'unknown') return;
      pending?.();
      const found = result.value ?? null;
      end({ f: 'create', to: tag, ...(result.kind === 'applied' ? {} : { found }) });
    } else if (kind === 3) {
      const result = await deals.update(key, (text) => (text === undefined ? tag : `${text} ${tag}`));
      if (result.kind === 'unknown') return;
      pending?.();
      end({ f: 'append', tag, value: result.value ?? null });
    } else {
      const result = await deals.delete(key);
      if (result.kind === 'unknown') return;
      pending?.();
      end({ f: 'delete', isApplied: result.kind === 'applied' });
    }
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    if (error.outcome === 'not-applied') pending?.();
  }
}

/** A value of its own: written, taken away, and looked for. */
export async function putAndDelete({ prefs }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const key = `own-${world.uniqueTag()}`;
  try {
    // Not everywhere at first, so that others have to bring it.
    await prefs.put(key, 'value', { level: world.random() < 0.5 ? 'accept' : 'quorum' });
    if (world.random() < 0.5) await prefs.get(key, { level: 'all' });
    await prefs.delete(key);
    world.deletions.gone.add(key);
    const { value } = await prefs.get(key);
    if (value !== undefined) world.ledger.deletedIsBack(key);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
}

/** One of them, some time later. */
export async function lookForDeleted({ prefs }: SimulatedProcess, world: ClientWorld): Promise<void> {
  const keys = [...world.deletions.gone];
  const key = keys[Math.floor(world.random() * keys.length)];
  if (key === undefined) return;
  try {
    const { value } = await prefs.get(key);
    if (value !== undefined) world.ledger.deletedIsBack(key);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { LockstepError } from '../../model/errors.ts';
import { askStatus } from './ask-region.ts';
import { findRegion, presentRegions, readRegions, writeRegions } from './regions-folder.ts';
import type { RegionPlace, RegionsConfig } from './regions-folder.ts';

const POLL_MS = 200;

/**
 * Notes in regions.json that a region has left, once every other one has what it had committed when this began. Returns the
 * others. Throws CONFIG_INVALID, with nothing done, when one does not get there.
 */
export async function removeRegion(state: string, name: string, patienceMs: number): Promise<string[]> {
  const config = await readRegions(state);
  findRegion(config, name);
  const others = presentRegions(config).filter((region) => region.name !== name);
  if (others.length === 0)
    throw new LockstepError('CONFIG_INVALID', `${name} is the last region; end its process instead.`);
  const sinceMs = Date.now();
  for (const other of others) await untilPassed(config, other, { name, sinceMs, patienceMs });
  await writeRegions(state, { ...config, left: [...(config.left ?? []), name] });
  return others.map((other) => other.name);
}

async function untilPassed(
  config: RegionsConfig,
  other: RegionPlace,
  {
    name,
    sinceMs,
    patienceMs,
  }: { readonly name: string; readonly sinceMs: number; readonly patienceMs: number },
): Promise<void> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const status = await askStatus(config, other);
    const promisedAtMs = status?.links.find(({ from }) => from === name)?.promisedAtMs ?? null;
    if (promisedAtMs !== null && promisedAtMs > sinceMs) return;
    if (performance.now() > deadlineMs) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${other.name} does not have yet what ${name} wrote, and ${name} stays. See "lockstep regions status": both of their processes must run, and the link from ${name} to ${other.name}.`,
      );
    }
    await delay(POLL_MS);
  }
}

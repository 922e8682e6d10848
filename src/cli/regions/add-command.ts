import { parseRegionNames } from '../../multi-leader/definition.ts';
import { giveUpJoin, joinRegion } from '../../multi-leader/join/join-region.ts';
import { LockstepError } from '../../model/errors.ts';
import { loadDefinition, parseRegions, presentRegions, readRegions, writeRegions } from './regions-folder.ts';
import type { RegionPlace, RegionsConfig } from './regions-folder.ts';

export interface AddOptions {
  readonly state: string;
  readonly place: RegionPlace;
  /** From whom the rows are copied; null for the first region. */
  readonly from: string | null;
  readonly patienceMs: number;
}

/**
 * Lets an empty region join the others, which go on writing, and notes it in regions.json. Returns the others. Throws
 * CONFIG_INVALID, with nothing left behind.
 */
export async function addRegion({ state, place, from, patienceMs }: AddOptions): Promise<string[]> {
  const config = await readRegions(state);
  const wanted = checkPlace(config, place);
  const others = presentRegions(config);
  await joinRegion({
    ...placesOf(config, place),
    donor: from ?? others[0]?.name ?? '',
    definition: await loadDefinition(config.definition),
    patienceMs,
  });
  await writeRegions(state, wanted);
  return others.map(({ name }) => name);
}

/** Undoes what was left of an {@link addRegion} that was interrupted. */
export async function giveUpRegion(state: string, place: RegionPlace): Promise<void> {
  const config = await readRegions(state);
  checkPlace(config, place);
  await giveUpJoin(placesOf(config, place));
}

function placesOf(
  { regions, left = [] }: RegionsConfig,
  { name, url }: RegionPlace,
): Pick<Parameters<typeof joinRegion>[0], 'regions' | 'left' | 'newcomer'> {
  return { regions: regions.map((one) => ({ name: one.name, url: one.url })), left, newcomer: { name, url } };
}

/** The regions with the new one, last. */
function checkPlace(config: RegionsConfig, place: RegionPlace): RegionsConfig {
  const names = config.regions.map(({ name }) => name);
  if (names.includes(place.name)) {
    const has = config.left?.includes(place.name) === true ? 'has left' : 'is one of them already';
    throw new LockstepError('CONFIG_INVALID', `Give the new region another name: ${place.name} ${has}.`);
  }
  parseRegionNames([...names, place.name]);
  const twin = presentRegions(config).find((one) => one.host === place.host && one.apiPort === place.apiPort);
  if (twin !== undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Give the new region another --api-port or --host: ${twin.name} answers at ${place.host}:${place.apiPort}.`,
    );
  }
  const wanted = { ...config, regions: [...config.regions, place] };
  return parseRegions(JSON.stringify(wanted), 'regions.json with the new region');
}

import { askAsOperator } from '../../coordination/ask-as-operator.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import type { RegionStatus } from '../../multi-leader/region.ts';
import { createRegionSeal } from '../../multi-leader/seal.ts';
import type { RegionPlace, RegionsConfig } from './regions-folder.ts';

const TIMEOUT_MS = 5_000;
/** A batch that is under way is finished first. */
const CUT_TIMEOUT_MS = 60_000;

/** A region's status, null when its process does not answer, or another one does. */
export async function askStatus(config: RegionsConfig, region: RegionPlace): Promise<RegionStatus | null> {
  try {
    return await ask<RegionStatus>(config, region, { path: '/v1/region', timeoutMs: TIMEOUT_MS });
  } catch {
    return null;
  }
}

/** Parts a region from what `source` writes, or joins it again. Throws when its process does not answer. */
export async function askLink(
  config: RegionsConfig,
  region: RegionPlace,
  source: string,
  verb: 'cut' | 'heal',
): Promise<void> {
  const path = `/v1/links/${encodeURIComponent(source)}/${verb}`;
  await ask(config, region, { path, body: {}, timeoutMs: CUT_TIMEOUT_MS }).catch((error: unknown) => {
    if (!(error instanceof LockstepError) || error.details['isSilent'] !== true) throw error;
    const url = apiUrl(region);
    throw new LockstepError(
      'CONFIG_INVALID',
      error.code === 'CONFIG_INVALID'
        ? `Who answers at ${url} does not know the token in this regions.json. See what runs there, and that the file is the same beside every region.`
        : `The process of region ${region.name} at ${url} does not answer. Start it with "lockstep regions run ${region.name}".`,
      { cause: error, outcome: error.outcome },
    );
  });
}

function ask<T>(
  config: RegionsConfig,
  region: RegionPlace,
  request: { readonly path: string; readonly body?: unknown; readonly timeoutMs: number },
): Promise<T> {
  const regions = config.regions.map(({ name }) => name);
  const seal = createRegionSeal({ region: null, regions, token: config.token });
  return askAsOperator<T>(seal, { to: region.name as NodeId, url: apiUrl(region), ...request });
}

function apiUrl(region: RegionPlace): string {
  return `http://${region.host}:${region.apiPort}`;
}

import { LockstepError } from '../../model/errors.ts';
import type { ErrorCode } from '../../model/errors.ts';
import type { RegionStatus } from '../../multi-leader/region.ts';
import type { RegionPlace, RegionsConfig } from './regions-folder.ts';

const TIMEOUT_MS = 5_000;

/** A region's status, null when its process does not answer. */
export async function askStatus(region: RegionPlace): Promise<RegionStatus | null> {
  try {
    const response = await fetch(`${apiUrl(region)}/v1/region`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? ((await response.json()) as RegionStatus) : null;
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
  const url = `${apiUrl(region)}/v1/links/${encodeURIComponent(source)}/${verb}`;
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${config.token}` },
    // A batch that is under way is finished first.
    signal: AbortSignal.timeout(60_000),
  }).catch((error: unknown) => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The process of region ${region.name} at ${apiUrl(region)} does not answer. Start it with "lockstep regions run ${region.name}".`,
      { cause: error },
    );
  });
  if (response.ok) return;
  const { code, message } = (await response.json()) as { code: ErrorCode; message: string };
  throw new LockstepError(code, message);
}

function apiUrl(region: RegionPlace): string {
  return `http://${region.host}:${region.apiPort}`;
}

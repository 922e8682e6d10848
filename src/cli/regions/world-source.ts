import type { WorldSource } from '../../admin/world/world.ts';
import { askLink, askStatus } from './ask-region.ts';
import { readConflicts } from './conflicts-command.ts';
import { findRegion, presentRegions } from './regions-folder.ts';
import type { RegionsConfig } from './regions-folder.ts';

const CONFLICTS = 20;

/** What the world page shows, from the regions' own processes and the log of one of them. */
export function createWorldSource(
  state: string,
  config: RegionsConfig,
  appUrls: ReadonlyMap<string, string>,
): WorldSource {
  return {
    token: config.token,
    async picture() {
      const [conflicts, ...answered] = await Promise.all([
        readConflicts({ state, region: null, table: null, limit: CONFLICTS }).catch(() => []),
        ...presentRegions(config).map(async (region) => ({
          name: region.name,
          status: await askStatus(config, region),
        })),
      ]);
      return {
        conflicts,
        regions: answered.map(({ name, status }) => ({
          name,
          links: status?.links ?? null,
          problem: status?.problem ?? null,
          kept: status === null ? 0 : status.records + status.tombstones + status.operations,
          parked: status?.parked ?? 0,
          appUrl: appUrls.get(name) ?? null,
        })),
      };
    },
    async setLink(a, b, verb) {
      await Promise.all([
        askLink(config, findRegion(config, a), b, verb),
        askLink(config, findRegion(config, b), a, verb),
      ]);
    },
  };
}

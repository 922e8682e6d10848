import type { WorldPicture, WorldSource } from '../../admin/world/world.ts';
import { askLink, askStatus } from './ask-region.ts';
import { readConflicts } from './conflicts-command.ts';
import { createToken, findRegion, presentRegions } from './regions-folder.ts';
import type { RegionsConfig } from './regions-folder.ts';

const CONFLICTS = 20;
/** How long a look is good for. */
const LOOK_MS = 800;

/** What the world page shows, from the regions' own processes and the log of one of them. */
export function createWorldSource(
  state: string,
  config: RegionsConfig,
  appUrls: ReadonlyMap<string, string>,
): WorldSource {
  const regions = sharedLook(() => readWorldRegions(config, appUrls));
  const conflicts = sharedLook(() =>
    readConflicts({ state, region: null, table: null, limit: CONFLICTS }).catch(() => []),
  );
  return {
    // The page's own, and gone with this process: a page that is left open tells it to whoever has the port next.
    token: createToken(),
    async picture(withRows) {
      const [found, logged] = await Promise.all([regions.look(), withRows ? conflicts.look() : []]);
      return { regions: found, conflicts: logged };
    },
    async setLink(a, b, verb) {
      await Promise.all([
        askLink(config, findRegion(config, a), b, verb),
        askLink(config, findRegion(config, b), a, verb),
      ]);
      regions.forget();
    },
  };
}

async function readWorldRegions(
  config: RegionsConfig,
  appUrls: ReadonlyMap<string, string>,
): Promise<WorldPicture['regions']> {
  return Promise.all(
    presentRegions(config).map(async (region) => {
      const status = await askStatus(config, region);
      return {
        name: region.name,
        links: status?.links ?? null,
        problem: status?.problem ?? null,
        kept: status === null ? 0 : status.records + status.tombstones + status.operations,
        parked: status?.parked ?? 0,
        appUrl: appUrls.get(region.name) ?? null,
      };
    }),
  );
}

/** Everybody who asks within a second gets the same answer: a session for each would be too much for the server. */
function sharedLook<T>(look: () => Promise<T>): { look(): Promise<T>; forget(): void } {
  let last: { readonly atMs: number; readonly found: Promise<T> } | null = null;
  return {
    look() {
      const nowMs = performance.now();
      if (last === null || nowMs - last.atMs > LOOK_MS) last = { atMs: nowMs, found: look() };
      return last.found;
    },
    forget() {
      last = null;
    },
  };
}

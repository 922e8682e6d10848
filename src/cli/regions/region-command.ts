import { resolve as resolvePath } from 'node:path';
import { serveRegion } from '../../multi-leader/api.ts';
import { Region } from '../../multi-leader/region.ts';
import { createRegionSeal } from '../../multi-leader/seal.ts';
import { findRegion, loadDefinition, readRegions } from './regions-folder.ts';

/** What a region's process prints once the region writes into its log all that others need. */
export const REGION_IS_READY = 'ready';

/**
 * `lockstep regions run`: the process of one region, until a signal, or with `untilStdinCloses` also until standard input
 * closes.
 */
export async function runRegion(options: {
  readonly state: string;
  readonly region: string;
  readonly untilStdinCloses: boolean;
}): Promise<void> {
  const config = await readRegions(options.state);
  const place = findRegion(config, options.region);
  const region = new Region({
    name: place.name,
    regions: config.regions.map(({ name, url }) => ({ name, url })),
    left: config.left ?? [],
    definition: await loadDefinition(config.definition),
    definitionPath: config.definition === null ? null : resolvePath(config.definition),
    onProblem: (problem) => print({ region: place.name, problem }),
  });
  await region.start();
  const api = await serveRegion({
    api: region,
    host: place.host,
    port: place.apiPort,
    seal: createRegionSeal({
      region: place.name,
      regions: config.regions.map(({ name }) => name),
      token: config.token,
    }),
  });
  print({ region: place.name, state: REGION_IS_READY });
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve());
    if (options.untilStdinCloses)
      process.stdin
        .on('end', () => resolve())
        .on('error', () => resolve())
        .resume();
  });
  await api.close();
  await region.stop();
  process.exit(0);
}

function print(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`);
}

import { resolve as resolvePath } from 'node:path';
import { serveRegion } from '../../multi-leader/api.ts';
import { Region } from '../../multi-leader/region.ts';
import { createRegionSeal } from '../../multi-leader/seal.ts';
import { findRegion, loadDefinition, readRegions } from './regions-folder.ts';

/** What a region's process prints once the region writes into its log all that others need. */
export const REGION_IS_READY = 'ready';

interface RunOptions {
  readonly state: string;
  readonly region: string;
  readonly untilStdinCloses: boolean;
}

/**
 * `lockstep regions run`: the process of one region, until a signal, or with `untilStdinCloses` also until standard input
 * closes. Throws when it cannot run; nothing of it goes on then.
 */
export async function runRegion(options: RunOptions): Promise<void> {
  const ended = untilTold(options);
  try {
    const running = await Promise.race([ended, startRegion(options)]);
    await ended;
    await running?.close();
  } catch (error) {
    // It is listened to, and would keep the process.
    if (options.untilStdinCloses) process.stdin.destroy();
    throw error;
  }
  process.exit(0);
}

/** From before the start on, which may never come to its end. */
async function untilTold({ untilStdinCloses }: RunOptions): Promise<null> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve());
    if (untilStdinCloses)
      process.stdin
        .on('end', () => resolve())
        .on('error', () => resolve())
        .resume();
  });
  return null;
}

async function startRegion(options: RunOptions): Promise<{ close(): Promise<void> }> {
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
  try {
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
    return {
      async close() {
        await api.close();
        await region.stop();
      },
    };
  } catch (error) {
    await region.stop().catch(() => undefined);
    throw error;
  }
}

function print(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`);
}

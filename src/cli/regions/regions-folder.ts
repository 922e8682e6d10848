import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import { parseDefinition, parseRegionNames } from '../../multi-leader/definition.ts';
import type { RegionsDefinition } from '../../multi-leader/definition.ts';
import { replaceFile } from '../../postgres/data-folder.ts';

const REGIONS_FILE = 'regions.json';

export interface RegionPlace {
  readonly name: string;
  /** As a superuser, or with the rights in docs/multi-leader.md. All its servers, of which one leads. */
  readonly url: string;
  /** Where the region's own process answers. */
  readonly host: string;
  readonly apiPort: number;
}

export interface RegionsConfig {
  /** Path of the definition; null shares everything. */
  readonly definition: string | null;
  /** For what changes something. */
  readonly token: string;
  /** In the order that they were founded in. */
  readonly regions: readonly RegionPlace[];
  /** Names of those that have left for good: their places in the order stay. */
  readonly left?: readonly string[] | undefined;
}

const RegionsFile: z.ZodType<RegionsConfig> = z.strictObject({
  definition: z.string().nullable(),
  token: z.string().min(16),
  regions: z
    .array(
      z.strictObject({
        name: z.string(),
        url: z.string().regex(/^postgres(ql)?:\/\//),
        host: z.string(),
        apiPort: z.number().int().min(1).max(65_535),
      }),
    )
    .min(2),
  left: z.array(z.string()).optional(),
});

/** Reads the regions below a state folder. Throws CONFIG_INVALID with the remedy. */
export async function readRegions(stateDir: string): Promise<RegionsConfig> {
  const path = join(resolve(stateDir), REGIONS_FILE);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `There is no ${path}. Start regions on this machine with "npm start -- --regions eu,us,ap", or write the file as in docs/multi-leader.md.`,
      { cause: error },
    );
  });
  return parseRegions(text, path);
}

export function parseRegions(text: string, path: string): RegionsConfig {
  try {
    const config = RegionsFile.parse(JSON.parse(text));
    parseRegionNames(config.regions.map(({ name }) => name));
    return config;
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new LockstepError('CONFIG_INVALID', `${path} cannot be used: ${why}.`, { cause: error });
  }
}

/** Mode 0600: it holds the way into every region. */
export async function writeRegions(stateDir: string, config: RegionsConfig): Promise<void> {
  const folder = resolve(stateDir);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  await replaceFile(join(folder, REGIONS_FILE), `${JSON.stringify(config, null, 2)}\n`, null);
}

/** Those that have not left. */
export function presentRegions({ regions, left = [] }: RegionsConfig): readonly RegionPlace[] {
  return regions.filter(({ name }) => !left.includes(name));
}

export function findRegion(config: RegionsConfig, name: string): RegionPlace {
  const regions = presentRegions(config);
  const found = regions.find((region) => region.name === name);
  if (found !== undefined) return found;
  throw new LockstepError(
    'CONFIG_INVALID',
    `There is no region ${name}; there are ${regions.map((region) => region.name).join(', ')}.`,
  );
}

/** What a definition's file exports by default. */
export async function loadDefinition(path: string | null): Promise<RegionsDefinition> {
  if (path === null) return {};
  const module = (await import(pathToFileURL(resolve(path)).href).catch((error: unknown) => {
    throw new LockstepError('CONFIG_INVALID', `${path} cannot be loaded: ${(error as Error).message}`, {
      cause: error,
    });
  })) as { readonly default?: unknown };
  return parseDefinition(module.default, path);
}

export function createToken(): string {
  return randomBytes(18).toString('base64url');
}

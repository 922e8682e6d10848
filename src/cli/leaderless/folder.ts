import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import { replaceFile } from '../../postgres/data-folder.ts';
import { choosePorts, takePort } from '../dev/ports.ts';

const FILE = 'leaderless.json';
const FIRST_PORT = 5451;
const COUNT = 3;

/** The independent servers of a local cluster. */
export interface LeaderlessConfig {
  readonly nodes: readonly LeaderlessNode[];
}

export interface LeaderlessNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

const SHAPE: z.ZodType<LeaderlessConfig> = z.object({
  nodes: z
    .array(
      z.object({
        name: z.string().regex(/^q[1-9]$/),
        host: z.literal('127.0.0.1'),
        port: z.int().min(1).max(65_535),
      }),
    )
    .min(COUNT),
});

/** Null when the cluster below `stateDir` has none. Throws CONFIG_INVALID for a file that does not fit. */
export async function readLeaderlessConfig(stateDir: string): Promise<LeaderlessConfig | null> {
  const path = join(resolve(stateDir), FILE);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  const parsed = SHAPE.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new LockstepError('CONFIG_INVALID', `${path} does not fit: ${z.prettifyError(parsed.error)}`);
}

/** Those there are, or new ones; on other ports where somebody else listens on theirs. */
export async function openLeaderlessConfig(stateDir: string): Promise<LeaderlessConfig> {
  const known = await readLeaderlessConfig(stateDir);
  const areFree =
    known !== null && (await Promise.all(known.nodes.map(({ port }) => takePort(port)))).every(Boolean);
  if (areFree) return known;
  const ports = await choosePorts(FIRST_PORT, known?.nodes.length ?? COUNT, { isExact: false, flag: FILE });
  const config: LeaderlessConfig = {
    nodes: ports.map((port, index) => ({ name: `q${index + 1}`, host: '127.0.0.1', port })),
  };
  await replaceFile(join(resolve(stateDir), FILE), `${JSON.stringify(config, null, 2)}\n`, null);
  return config;
}

import { dirname, join, resolve } from 'node:path';

export const DEFAULT_STATE_DIR = '.lockstep';

/** Where a cluster's files are, by `--state` and `--config` of every command. */
export interface ClusterPlace {
  /** The folder of the cluster, or of this machine's part of it. */
  readonly state: string;
  /** Its cluster.json, where that lies elsewhere. */
  readonly config?: string;
}

type OptionWords = readonly [flags: string, description: string];

export const STATE: readonly [...OptionWords, preset: string] = [
  '--state <folder>',
  'folder of the cluster',
  DEFAULT_STATE_DIR,
];
export const CONFIG: OptionWords = [
  '--config <file>',
  'its cluster.json, where it is not in that folder, e.g. /etc/lockstep/cluster.json',
];

export function configPathOf({ state, config }: ClusterPlace): string {
  return resolve(config ?? join(state, 'cluster.json'));
}

/** The folder in which `lockstep dev` runs a cluster. */
export function stateDirOf({ state, config }: ClusterPlace): string {
  return resolve(config === undefined ? state : dirname(config));
}

import { LockstepError } from '../model/errors.ts';

/** What regions share and how, as {@link defineRegions} takes it. */
export interface RegionsDefinition {
  /**
   * Tables that stay each region's own, as `table` or `schema.table`; all others are shared. A row is one write: the last
   * one wins.
   */
  readonly except?: readonly string[];
  /** How far another region's clock may be ahead before it is told; nothing is lost beyond it. Default 500 ms. */
  readonly maxSkewMs?: number;
}

const REGION_NAME = /^[a-z][a-z0-9]{0,15}$/;
/** Each takes every 16th number of a sequence. */
const MAX_REGIONS = 16;

/** Describes the regions of an app, for a file that `lockstep regions` and `lockstep dev --regions` read. */
export function defineRegions(definition: RegionsDefinition): RegionsDefinition {
  return definition;
}

/** Throws CONFIG_INVALID for names that could not be those of slots, and for too few or too many. */
export function parseRegionNames(names: readonly string[]): readonly string[] {
  const problem =
    names.find((name) => !REGION_NAME.test(name)) ??
    names.find((name, index) => names.indexOf(name) !== index);
  if (problem !== undefined || names.length < 2 || names.length > MAX_REGIONS) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Name 2 to ${MAX_REGIONS} different regions, each with up to 16 of a-z and 0-9 and a letter first, such as eu,us,ap; "${names.join(',')}" is not that.`,
      { details: { names } },
    );
  }
  return names;
}

/** Reads a definition from what a file exports. Throws CONFIG_INVALID. */
export function parseDefinition(value: unknown, path: string): RegionsDefinition {
  const definition = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const unknown = Object.keys(definition).find((name) => name !== 'except' && name !== 'maxSkewMs');
  const { except = [], maxSkewMs = 500 } = definition;
  const isList = Array.isArray(except) && except.every((name) => typeof name === 'string');
  if (
    value === definition &&
    unknown === undefined &&
    isList &&
    typeof maxSkewMs === 'number' &&
    maxSkewMs >= 0
  )
    return { except: except as string[], maxSkewMs };
  throw new LockstepError(
    'CONFIG_INVALID',
    `${path} does not export a definition of regions${unknown === undefined ? '' : ` ("${unknown}" is unknown)`}; write "export default defineRegions({ except: [] })".`,
  );
}

import { z } from 'zod';
import { LockstepError } from '../model/errors.ts';
import type { ColumnRule } from './core/merge.ts';
import type { OrphanRule } from './core/orphan-rule.ts';

/** How the values of one column become one when several regions changed it. */
export interface ColumnMerge {
  readonly rule: ColumnRule | 'priority';
  /** Of {@link regionPriority}: names of regions, the first one wins. */
  readonly order?: readonly string[] | undefined;
  /** Of {@link escrow}: what no region goes below. */
  readonly min?: number | undefined;
}

/** By column; `*` for those that are not named, by default {@link lastWriteWins}. */
export type TableRules<Row = Readonly<Record<string, unknown>>> = {
  readonly [Column in Extract<keyof Row, string> | '*']?: ColumnMerge;
};

/**
 * What regions share and how, as {@link defineRegions} takes it. `Schema` has a row type for each table, such as Kysely's
 * database type, or one made of Drizzle's `$inferSelect`.
 */
export interface RegionsDefinition<Schema = Readonly<Record<string, Readonly<Record<string, unknown>>>>> {
  /**
   * Tables whose columns merge one by one, and whose conflicts are logged; they need REPLICA IDENTITY FULL. Of all other
   * shared tables a row is one write, and the last one wins.
   */
  readonly tables?: { readonly [Table in Extract<keyof Schema, string>]?: TableRules<Schema[Table]> };
  /** Tables that stay each region's own, as `table` or `schema.table`; all others are shared. */
  readonly except?: readonly string[];
  /**
   * Foreign keys that hold over regions, as `table.column` or `schema.table.column`: what becomes of a row whose parent one
   * region deleted while another one wrote the row. `restore-parent` brings the parent back as it was, for which its table
   * needs REPLICA IDENTITY FULL; `delete-orphan` deletes the row. Those that are not named are not looked after.
   */
  readonly foreignKeys?: Readonly<Record<string, OrphanRule>>;
  /** How far another region's clock may be ahead before it is told; nothing is lost beyond it. Default 500 ms. */
  readonly maxSkewMs?: number;
}

/** Of two writes of the column the later one stays. */
export function lastWriteWins(): ColumnMerge {
  return { rule: 'last' };
}

/**
 * Differences add up: two regions that each add 1 make it 2 more. For integers and numeric. A difference that is older
 * than the row's last insert or delete goes with it.
 */
export function counter(): ColumnMerge {
  return { rule: 'counter' };
}

/** What any region added to an array is in it, and what it took out is not, by the later of the two. */
export function set(): ColumnMerge {
  return { rule: 'set' };
}

/** The largest value that any region wrote stays. For integers and numeric. */
export function max(): ColumnMerge {
  return { rule: 'max' };
}

/** The smallest value that any region wrote stays. For integers and numeric. */
export function min(): ColumnMerge {
  return { rule: 'min' };
}

/**
 * A number of which each region holds a part, such as what is in stock: its column has this region's part, and what the
 * app does with it, such as `SET quantity = quantity - 1 WHERE quantity > 0`, never touches another region's. Regions that
 * have more give to those that have less. For integers. `min`: what no region gives below; default 0.
 */
export function escrow(options: { readonly min?: number } = {}): ColumnMerge {
  return { rule: 'escrow', min: options.min ?? 0 };
}

/**
 * Of two writes of the column of which neither had seen the other, that of the region that comes first in the list stays,
 * whichever was later; those that are not named come last. A write that had seen the other one is no conflict. Until every
 * region has promised to send nothing older the later write is to be seen.
 */
export function regionPriority(order: readonly string[]): ColumnMerge {
  return { rule: 'priority', order };
}

const REGION_NAME = /^[a-z][a-z0-9]{0,15}$/;
/** Each takes every 16th number of a sequence. */
const MAX_REGIONS = 16;

/** Describes the regions of an app, for a file that `lockstep regions` and `lockstep dev --regions` read. */
export function defineRegions<Schema = Readonly<Record<string, Readonly<Record<string, unknown>>>>>(
  definition: RegionsDefinition<Schema>,
): RegionsDefinition {
  return definition as RegionsDefinition;
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

const Definition: z.ZodType<RegionsDefinition> = z.strictObject({
  tables: z
    .record(
      z.string(),
      z.record(
        z.string(),
        z.strictObject({
          rule: z.enum(['last', 'counter', 'set', 'max', 'min', 'escrow', 'priority']),
          min: z.number().int().optional(),
          order: z.array(z.string()).min(1).optional(),
        }),
      ),
    )
    .default({}),
  except: z.array(z.string()).default([]),
  foreignKeys: z.record(z.string(), z.enum(['restore-parent', 'delete-orphan'])).default({}),
  maxSkewMs: z.number().min(0).default(500),
});

/** Reads a definition from what a file exports. Throws CONFIG_INVALID. */
export function parseDefinition(value: unknown, path: string): RegionsDefinition {
  const parsed = Definition.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${path} does not export a definition of regions; write "export default defineRegions({ … })" as in docs/multi-leader.md. ${z.prettifyError(parsed.error)}`,
  );
}

import { z } from 'zod';
import { LockstepError } from '../model/errors.ts';
import type { TableRules } from './column-rules.ts';
import type { OrphanRule } from './core/orphan-rule.ts';
import type { TableResolver } from './resolve/row-conflict.ts';

/**
 * What regions share and how, as {@link defineRegions} takes it. `Schema` has a row type for each table, such as Kysely's
 * database type, or one made of Drizzle's `$inferSelect`.
 */
export interface RegionsDefinition<Schema = Readonly<Record<string, Readonly<Record<string, unknown>>>>> {
  /**
   * Tables whose columns merge one by one, or whose conflicts a function decides, and whose conflicts are logged; they need
   * REPLICA IDENTITY FULL. Of all other shared tables a row is one write, and the last one wins.
   */
  readonly tables?: {
    readonly [Table in Extract<keyof Schema, string>]?:
      TableRules<Schema[Table]> | TableResolver<Schema[Table]>;
  };
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

const REGION_NAME = /^[a-z][a-z0-9]{0,15}$/;
/** Each takes every 16th number of a sequence. */
const MAX_REGIONS = 16;

/** Describes the regions of an app, for a file that `lockstep regions` and `lockstep dev --regions` read. */
export function defineRegions<Schema = Readonly<Record<string, Readonly<Record<string, unknown>>>>>(
  definition: RegionsDefinition<Schema>,
): RegionsDefinition {
  return definition as unknown as RegionsDefinition;
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

const Columns: z.ZodType<TableRules> = z.record(
  z.string(),
  z.strictObject({
    rule: z.enum(['last', 'counter', 'set', 'max', 'min', 'escrow', 'priority']),
    min: z.number().int().optional(),
    order: z.array(z.string()).min(1).optional(),
  }),
);
const Resolver: z.ZodType<TableResolver> = z.strictObject({
  resolve: z.custom<TableResolver['resolve']>((value) => typeof value === 'function'),
  columns: Columns,
});
/** Not as a union, which would say no more than that it is neither. */
const Table: z.ZodType<TableRules | TableResolver> = z.unknown().transform((value, context) => {
  const hasResolver = typeof (value as TableRules | null)?.['resolve'] === 'function';
  const parsed = (hasResolver ? Resolver : Columns).safeParse(value);
  if (parsed.success) return parsed.data;
  for (const { message, path } of parsed.error.issues) context.addIssue({ code: 'custom', message, path });
  return z.NEVER;
});
const Definition: z.ZodType<RegionsDefinition> = z.strictObject({
  tables: z.record(z.string(), Table).default({}),
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

/** The rules of a table's columns; null where the last write of a row wins whole. */
export function rulesFor({ tables = {} }: RegionsDefinition, table: string): TableRules | null {
  const found = find(tables, table);
  if (found === null) return null;
  return isResolver(found) ? found.columns : found;
}

/** What decides a table's conflicts, by its name as `schema.table`. */
export function findResolver(
  { tables = {} }: RegionsDefinition,
  table: string,
): TableResolver['resolve'] | null {
  const found = find(tables, table);
  return found !== null && isResolver(found) ? found.resolve : null;
}

export function hasResolvers({ tables = {} }: RegionsDefinition): boolean {
  return Object.values(tables).some((rules) => rules !== undefined && isResolver(rules));
}

function find(
  tables: NonNullable<RegionsDefinition['tables']>,
  table: string,
): TableRules | TableResolver | null {
  return Object.entries(tables).find(([name]) => name === table || `public.${name}` === table)?.[1] ?? null;
}

function isResolver(rules: TableRules | TableResolver): rules is TableResolver {
  return typeof rules['resolve'] === 'function';
}

/** Everything by which regions decide, as one text: the same in all of them, or they would not agree in the end. */
export function describeDefinition({
  tables = {},
  except = [],
  foreignKeys = {},
}: RegionsDefinition): string {
  return JSON.stringify({ tables, except: except.toSorted(), foreignKeys }, (_, value: unknown) => {
    // As its source has it, whatever the white space.
    if (typeof value === 'function') return String(value).replace(/\s+/g, ' ');
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}

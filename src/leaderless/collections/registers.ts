import { LockstepError } from '../../model/errors.ts';
import { hlcOfMs, msOfHlc } from '../core/hlc.ts';
import { valueAt } from '../core/cells.ts';
import type { Register } from '../core/cells.ts';
import type { ReadLevel } from '../core/levels.ts';
import type { ReadResult } from '../replicas.ts';
import { checkName } from './kind.ts';
import { parseTtl } from './ttl.ts';
import type { LifeOptions } from './ttl.ts';
import type { CollectionContext, Got, ReadOptions, Written } from './kind.ts';

/** A register's version as text: sorts as the versions do. */
export function versionOf({ at, writer }: { readonly at: number; readonly writer: string }): string {
  const ms = msOfHlc(at);
  return `${String(ms).padStart(15, '0')}.${String(at - hlcOfMs(ms)).padStart(4, '0')}.${writer}`;
}

/** Writes fields of one key at one hybrid time. */
export async function writeFields(
  context: CollectionContext,
  key: string,
  fields: readonly { readonly field: string; readonly value: string | null }[],
  options: LifeOptions,
): Promise<Written> {
  const { replicas, clock, collection, limits } = context;
  const at = clock.next();
  const { writer } = clock;
  const expiresAtMs = endOf(context, options);
  const cells = fields.map(({ field, value }) => ({
    store: 'registers' as const,
    collection: collection.name,
    key,
    field,
    value,
    at,
    writer,
    expiresAtMs: value === null ? null : expiresAtMs,
  }));
  try {
    const { answeredBy } = await replicas.writeNew(
      collection,
      cells,
      options.level ?? 'quorum',
      options.deadlineMs ?? limits.deadlineMs,
    );
    clock.keep(at);
    return { version: versionOf({ at, writer }), answeredBy };
  } catch (error) {
    if (!(error instanceof LockstepError) || error.outcome !== 'not-applied') clock.keep(at);
    throw error;
  }
}

/** When what is written now ends, in ms since 1970. */
function endOf({ ttlMs, runtime }: CollectionContext, { ttl }: LifeOptions): number | null {
  const livesMs = ttl === undefined ? ttlMs : parseTtl(ttl);
  return livesMs === null ? null : Math.floor(runtime.nowMs()) + livesMs;
}

/**
 * Sends what a read sees once more, as it was written and with a later end: it overwrites nothing that the read did not see.
 * Returns whether there was anything.
 */
export async function prolong(
  context: CollectionContext,
  key: string,
  options: LifeOptions,
): Promise<boolean> {
  const { level = 'quorum', deadlineMs = context.limits.deadlineMs } = options;
  const readLevel = level === 'accept' ? 'one' : level;
  const { registers } = await readFields(context, key, { ...options, level: readLevel });
  const nowMs = context.runtime.nowMs();
  const live = registers.filter((register) => valueAt(register, nowMs) !== null);
  const expiresAtMs = endOf(context, options);
  const cells = live
    .filter((register) => expiresAtMs !== null && (register.expiresAtMs ?? Infinity) < expiresAtMs)
    .map((register) => ({ store: 'registers' as const, ...register, expiresAtMs }));
  await context.replicas.write(context.collection, cells, level, deadlineMs);
  return live.length > 0;
}

/** Reads the registers of a key, tombstones among them; later writes of this process are newer than all of them. */
export async function readFields(
  context: CollectionContext,
  key: string,
  options: ReadOptions<ReadLevel>,
): Promise<{ readonly registers: readonly Register[]; readonly result: ReadResult }> {
  checkName('key', key);
  const { replicas, clock, collection, limits } = context;
  const result = await replicas.read(
    collection,
    'registers',
    key,
    options.level ?? 'quorum',
    options.deadlineMs ?? limits.deadlineMs,
  );
  const registers = [...result.cells.values()].filter((cell) => cell.store === 'registers');
  for (const { at } of registers) clock.observe(at);
  return { registers, result };
}

/** What a read of registers answers. */
export function gotOf<V>(value: V, registers: readonly Register[], result: ReadResult): Got<V> {
  const versions = registers.map(versionOf).sort();
  return {
    value,
    version: versions.at(-1) ?? null,
    answeredBy: result.answeredBy,
    repaired: result.repaired,
  };
}

import { hlcOfMs, msOfHlc } from '../core/hlc.ts';
import type { Register } from '../core/cells.ts';
import type { ReadLevel, WriteLevel } from '../core/levels.ts';
import type { ReadResult } from '../replicas.ts';
import { checkName } from './kind.ts';
import type { CollectionContext, Got, ReadOptions, WriteOptions, Written } from './kind.ts';

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
  options: WriteOptions<WriteLevel>,
): Promise<Written> {
  const { replicas, clock, writer, collection, limits } = context;
  const at = clock.next();
  const cells = fields.map(({ field, value }) => ({
    store: 'registers' as const,
    collection: collection.name,
    key,
    field,
    value,
    at,
    writer,
    expiresAtMs: null,
  }));
  const { answeredBy } = await replicas.write(
    collection,
    cells,
    options.level ?? 'quorum',
    options.deadlineMs ?? limits.deadlineMs,
  );
  return { version: versionOf({ at, writer }), answeredBy };
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

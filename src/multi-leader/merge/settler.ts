import type pg from 'pg';
import { isSameImage } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { replay, settleJournal } from '../core/merge.ts';
import type { Operation } from '../core/merge.ts';
import { encodeKeyRow, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { statementsFor } from '../tables/statements.ts';
import {
  findSettled,
  foldJournals,
  fromImage,
  readImages,
  readJournals,
  writeConflicts,
} from './journal-store.ts';
import type { KeyedConflict } from './journal-store.ts';

const CHUNK = 500;

/** A row of which operations were folded. */
export interface FoldedRow {
  readonly key: string;
  readonly base: Image | null;
  readonly operations: readonly Operation[];
}

/**
 * Folds what is settled of a merging table's journal and logs its conflicts, within the caller's transaction, which must
 * not overlap with a batch's. Rows that somebody holds are left for the next time. Returns how many rows were folded.
 */
export async function settleTable(options: {
  readonly client: pg.Client;
  readonly shape: TableShape;
  readonly lowestUs: number;
  readonly passOwnLog: () => Promise<void>;
  /** Within the same transaction, of each row what it was and what is folded of it. */
  readonly referee: (rows: readonly FoldedRow[]) => Promise<void>;
}): Promise<number> {
  const { client, shape, lowestUs } = options;
  const keys = await findSettled(client, shape, lowestUs, CHUNK);
  if (keys.length === 0) return 0;
  const sql = statementsFor(shape);
  const keyRows = encodeRows(
    shape,
    keys.map((key) => encodeKeyRow(shape, key)),
  );
  const { rows: locked } = await client.query<{ n: number }>(`${sql.lock} SKIP LOCKED`, [keyRows]);
  await options.passOwnLog();
  const [journals, images] = await Promise.all([
    readJournals(client, shape, keys),
    readImages(client, shape, keyRows),
  ]);
  const isLocked = new Set(locked.map(({ n }) => n));
  const rules = shape.merge ?? [];
  const conflicts: KeyedConflict[] = [];
  const referee: FoldedRow[] = [];
  const folded: { key: string; base: Image | null }[] = [];
  const repairs: { readonly key: string; readonly image: Image | null; readonly isHere: boolean }[] = [];
  keys.forEach((key, index) => {
    const here = images.get(index + 1) ?? null;
    const journal = journals[index];
    if (journal === undefined || (here !== null && !isLocked.has(index + 1))) return;
    const wanted = replay(journal.base, journal.operations, rules);
    if (!isSameImage(wanted, here)) repairs.push({ key, image: wanted, isHere: here !== null });
    const settled = settleJournal(journal.base, journal.operations, lowestUs, rules);
    for (const conflict of settled.conflicts) conflicts.push({ key, conflict });
    referee.push({
      key,
      base: journal.base,
      operations: journal.operations.filter(({ version }) => version.timeUs < lowestUs),
    });
    folded.push({ key, base: settled.base });
  });
  await repair(client, shape, repairs);
  await writeConflicts(client, shape, conflicts);
  await options.referee(referee);
  await foldJournals(client, shape, lowestUs, folded);
  return folded.length;
}

/** A delete that met a commit which was shipped but not yet visible passed it by; now the row is put right. */
async function repair(
  client: pg.Client,
  shape: TableShape,
  repairs: readonly { readonly key: string; readonly image: Image | null; readonly isHere: boolean }[],
): Promise<void> {
  const sql = statementsFor(shape);
  const texts = (isHere: boolean): (string | null)[] =>
    repairs.filter((one) => one.image !== null && one.isHere === isHere).map(({ image }) => fromImage(image));
  const removed = repairs.filter(({ image }) => image === null);
  if (texts(true).length > 0) await client.query(sql.updateImages, [texts(true)]);
  if (texts(false).length > 0) await client.query(sql.insertImages, [texts(false)]);
  if (removed.length > 0)
    await client.query(sql.removeDecided, [
      encodeRows(
        shape,
        removed.map(({ key }) => encodeKeyRow(shape, key)),
      ),
    ]);
}

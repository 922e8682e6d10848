import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import type { Catalog } from '../apply/catalog.ts';
import { createSlot, dropSlot, renameSyncedSlot } from '../slots.ts';
import type { CreatedSlot } from '../slots.ts';
import { findGap } from './core/gap.ts';
import { firstSlot, nextSlot } from './core/slot-name.ts';
import type { Gauge } from './gauge.ts';
import { copyTables } from './initial-copy.ts';
import type { CopyOptions, CopyTask } from './initial-copy.ts';
import { refillTables } from './refill.ts';
import {
  insertFollow,
  moveFollow,
  readFollows,
  readFollowTables,
  setFollowTables,
  setHistory,
} from './registry.ts';
import type { FollowRow } from './registry.ts';
import { dropOtherSlots, isSame, readSlot, readSource } from './source.ts';
import { readSourceHistory } from './source-history.ts';

/** Connections to both sides. */
export interface FollowEnds {
  readonly source: pg.Client;
  readonly target: pg.Client;
}

export interface PrepareOptions {
  readonly from: string;
  readonly to: string;
  readonly name: string;
  readonly publication: string;
  readonly jobs?: number;
  readonly chunkBytes?: number;
  readonly gauge: Gauge;
  readonly tell: (sentence: string) => void;
  readonly signal: AbortSignal;
}

/** A follow whose tables are as of its position or later, each as far as it says. */
export interface PreparedFollow extends FollowRow {
  readonly history: TimelineHistory;
}

/**
 * Has every table copied, and the follow where its stream can go on. Where changes are gone, because a failover, a lost
 * slot or lost commits stand between the two, the tables are refilled by comparison. Throws CONFIG_INVALID where the
 * follow belongs to another source.
 */
export async function prepareFollow(
  ends: FollowEnds,
  catalog: Catalog,
  tasks: readonly CopyTask[],
  options: PrepareOptions,
): Promise<PreparedFollow> {
  const { name, publication } = options;
  const known = (await readFollows(ends.target)).find((row) => row.name === name);
  const history = await readSourceHistory(options.from);
  const { system, flushedLsn } = await readSource(ends.source);
  if (known === undefined) {
    const slot = firstSlot(name);
    const row = { name, sourceSystem: system, slot, publication, committedAt: null, history };
    return withNewSlot(ends, slot, history, options, async (created) => {
      const position = created.consistentLsn;
      await insertFollow(ends.target, { ...row, position });
      await setFollowTables(
        ends.target,
        name,
        tasks.map(({ table }) => table.relation),
      );
      await copy(ends.target, tasks, created, catalog, options);
      return { ...row, position };
    });
  }
  if (known.sourceSystem !== system) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Follow "${name}" belongs to another source (${known.sourceSystem}, not ${system}). Copy anew with --start-over.`,
      { details: { follow: name } },
    );
  }
  await setFollowTables(
    ends.target,
    name,
    tasks.map(({ table }) => table.relation),
  );
  const found = await readSlot(ends.source, known.slot);
  const gap = findGap({
    position: known.position,
    history: known.history,
    slot: found,
    source: { flushedLsn, history },
  });
  if (gap !== null) return refill(gap, known, history, ends, catalog, tasks, options);
  const slot = found?.isSynced === true ? await takeOver(ends, known, options) : known.slot;
  await setHistory(ends.target, name, history, slot);
  await dropOtherSlots(ends.source, name, slot);
  // A view of the source of its own: the stream passes by what is in it.
  const isWhole = (await readFollowTables(ends.target, name)).every(({ copiedAt }) => copiedAt !== null);
  if (!isWhole) {
    const created = await createSlot({
      from: options.from,
      slot: `${slot}_copy`,
      isTemporary: true,
      timeline: history.timeline,
    });
    try {
      await copy(ends.target, tasks, created, catalog, options);
    } finally {
      await created.release();
    }
  }
  return { ...known, slot, history };
}

/** A slot that came here from a former leader is the follow's own from now on; gives its name. */
async function takeOver({ source }: FollowEnds, known: FollowRow, { from }: PrepareOptions): Promise<string> {
  const slot = nextSlot(known.slot, known.name);
  // One that is there is of an attempt that did not come to its end.
  await dropSlot(source, slot);
  await renameSyncedSlot(from, known.slot, slot);
  return slot;
}

async function withNewSlot<T>(
  { source }: FollowEnds,
  slot: string,
  { timeline }: TimelineHistory,
  { from }: PrepareOptions,
  use: (created: CreatedSlot) => Promise<T>,
): Promise<T> {
  // One that is there is of a first copy that never began, or of no more use.
  await dropSlot(source, slot);
  const created = await createSlot({ from, slot, timeline });
  try {
    return await use(created);
  } finally {
    await created.release();
  }
}

async function refill(
  gap: string,
  known: FollowRow,
  history: TimelineHistory,
  ends: FollowEnds,
  catalog: Catalog,
  tasks: readonly CopyTask[],
  options: PrepareOptions,
): Promise<PreparedFollow> {
  options.tell(`${gap} What differs is copied again.`);
  const slot = nextSlot(known.slot, known.name);
  return withNewSlot(ends, slot, history, options, async (created) => {
    const rows = await readFollowTables(ends.target, options.name);
    // Rows in a table whose copy never began are not the follow's.
    const own = tasks.filter(({ table }) =>
      rows.some((row) => isSame(row, table.relation) && (row.copiedAt !== null || row.isBegun)),
    );
    options.gauge.beginCopy(tasks.map(({ table }) => table));
    await refillTables(copyOptions(own, created, options), catalog);
    const fresh = tasks.filter((task) => !own.includes(task));
    await copyTables(copyOptions(fresh, created, options));
    const place = { position: created.consistentLsn, history, slot };
    await moveFollow(ends.target, known, place);
    await dropOtherSlots(ends.source, known.name, slot);
    return { ...known, ...place, committedAt: null };
  });
}

/** Copies the tables that are not, or completes their copy. */
async function copy(
  target: pg.Client,
  tasks: readonly CopyTask[],
  snapshot: { readonly snapshot: string; readonly consistentLsn: Lsn },
  catalog: Catalog,
  options: PrepareOptions,
): Promise<void> {
  const rows = await readFollowTables(target, options.name);
  const stateOf = (task: CopyTask): (typeof rows)[number] | undefined =>
    rows.find((row) => isSame(row, task.table.relation));
  const left = tasks.filter((task) => stateOf(task)?.copiedAt === null);
  const begun = left.filter((task) => stateOf(task)?.isBegun === true);
  options.gauge.beginCopy(left.map(({ table }) => table));
  await refillTables(copyOptions(begun, snapshot, options), catalog);
  const fresh = left.filter((task) => !begun.includes(task));
  await copyTables(copyOptions(fresh, snapshot, options));
}

function copyOptions(
  tasks: readonly CopyTask[],
  { snapshot, consistentLsn }: { readonly snapshot: string; readonly consistentLsn: Lsn },
  { from, to, name, jobs, chunkBytes, gauge, signal }: PrepareOptions,
): CopyOptions {
  return {
    from,
    to,
    follow: name,
    snapshot,
    snapshotLsn: consistentLsn,
    tasks,
    jobs: jobs ?? 2,
    ...(chunkBytes === undefined ? {} : { chunkBytes }),
    onBytes: ({ table }, bytes) => gauge.copied(table, bytes),
    onDone: ({ table }, rows) => gauge.copyDone(table, rows),
    signal,
  };
}

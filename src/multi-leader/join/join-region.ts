import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { createSlot, dropSlot } from '../../logical/slots.ts';
import { LockstepError } from '../../model/errors.ts';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { readProgress } from '../apply/progress.ts';
import { describeDefinition } from '../definition.ts';
import type { RegionsDefinition } from '../definition.ts';
import { passRunning } from '../own/promises.ts';
import { nameFor, OWN_SLOT, prepareRegion } from '../setup/region-setup.ts';
import { readShapes } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { checkTables } from './check-tables.ts';
import { hasPassed } from './core/join-rule.ts';
import { fillNewcomer } from './fill-newcomer.ts';
import { countNewcomer, forgetNewcomer, hasJoined, readMembers } from './members.ts';
import { checkEmpty, clearNewcomer } from './newcomer.ts';
import { withNewcomer, withOthers } from './parties.ts';
import type { JoinParty, JoinPlaces, JoinStart } from './parties.ts';

export interface JoinOptions extends JoinPlaces {
  /** From whom the rows are copied. */
  readonly donor: string;
  readonly definition: RegionsDefinition;
  /** How long the donor may take for what is under way to it, and long transactions to end. */
  readonly patienceMs: number;
}

const POLL_MS = 100;

/**
 * Lets an empty region join others that go on writing, by the rules in docs/internals/multi-leader.md. When it resolves, the
 * newcomer holds what the others hold and may be run, with its name last; the others are to be started again with it. Throws
 * CONFIG_INVALID, and what PostgreSQL says, with nothing left behind where all of them can be reached.
 */
export async function joinRegion(options: JoinOptions): Promise<void> {
  await withOthers(options, async (others) => {
    const donor = others.find(({ name }) => name === options.donor);
    if (donor === undefined) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There is no region ${options.donor} to copy from; there are ${others.map(({ name }) => name).join(', ')}.`,
      );
    }
    let hasBegun = false;
    try {
      await withNewcomer(options, async (newcomer) => {
        const shapes = await checkParties(options, others, newcomer, donor);
        if (shapes === 'done') return;
        hasBegun = true;
        await join(options, { others, newcomer, donor, shapes });
      });
    } catch (error) {
      if (hasBegun) await withNewcomer(options, (newcomer) => undo(others, newcomer)).catch(() => undefined);
      throw error;
    }
  });
}

/**
 * Undoes what a join that was interrupted has left, also where the new region is gone. Throws CONFIG_INVALID where it has
 * joined.
 */
export async function giveUpJoin(places: JoinPlaces): Promise<void> {
  await withOthers(places, async (others) => {
    const isUndone = await withNewcomer(places, (newcomer) => undo(others, newcomer)).catch(
      async (error: unknown) => {
        if (!(error instanceof LockstepError) || error.code !== 'NO_LEADER') throw error;
        await forgetEverywhere(others, places.newcomer.name);
        return true;
      },
    );
    if (isUndone) return;
    throw new LockstepError(
      'CONFIG_INVALID',
      `Run "lockstep regions add ${places.newcomer.name}" once more to end it: ${places.newcomer.name} has all that the others have, and may have been written to.`,
    );
  });
}

/** False where the newcomer has joined: then nothing is undone. */
async function undo(others: readonly JoinParty[], { name, client }: JoinParty): Promise<boolean> {
  if (await hasJoined(client)) return false;
  await clearNewcomer(
    client,
    others.map((other) => other.name),
  );
  await forgetEverywhere(others, name);
  return true;
}

async function forgetEverywhere(others: readonly JoinParty[], name: string): Promise<void> {
  for (const { client } of others) {
    // One of that name that is run as a region has its slot there.
    if ((await readMembers(client))?.joining !== name) continue;
    await dropSlot(client, nameFor(name));
    await forgetNewcomer(client, name);
  }
}

/** The newcomer's tables, or that all was done before, and only telling it is left. Changes nothing. */
async function checkParties(
  { regions, definition }: JoinOptions,
  others: readonly JoinParty[],
  newcomer: JoinParty,
  donor: JoinParty,
): Promise<readonly TableShape[] | 'done'> {
  const names = regions.map(({ name }) => name);
  const all = [...names, newcomer.name];
  const known = await readMembers(newcomer.client);
  if (known !== null && (known.own !== newcomer.name || known.names.join() !== all.join()))
    throw refusal(`the new region's database is region ${known.own} of ${known.names.join(', ')} already`);
  for (const { name, client } of others) {
    const members = await readMembers(client);
    const hasIt = members?.names.join() === all.join();
    if (known?.isJoining === false && members?.joining !== newcomer.name && !hasIt) {
      throw refusal(
        `${newcomer.name} has joined, and region ${name} knows nothing of it; it was given up there. Drop schema lockstep_regions in the new region, and empty its tables`,
      );
    }
    if (members === null || members.own !== name || members.isJoining || members.wentBack)
      throw refusal(`region ${name} does not run as one of ${names.join(', ')}`);
    const isKnown = members.names.join() === names.join() || (hasIt && known?.isJoining === false);
    if (!isKnown) throw refusal(`region ${name} knows of ${members.names.join(', ')}`);
    if (!(await hasFreeSlot(client, nameFor(newcomer.name))))
      throw refusal(
        `region ${name} has no free replication slot, and its max_replication_slots must be raised`,
      );
    if (members.definition !== describeDefinition(definition))
      throw refusal(`region ${name} runs with another definition`);
  }
  if (known?.isJoining === false) return 'done';
  const shapes = await readShapes(newcomer.client, definition);
  checkTables(donor.name, await readShapes(donor.client, definition), shapes);
  await checkEmpty(newcomer.client, [...shapes.values()]);
  return [...shapes.values()];
}

async function hasFreeSlot(client: pg.Client, slot: string): Promise<boolean> {
  const { rows } = await client.query<{ isFree: boolean }>(
    `SELECT count(*) < current_setting('max_replication_slots')::int AS "isFree"
     FROM pg_replication_slots WHERE slot_name <> $1`,
    [slot],
  );
  return rows[0]?.isFree === true;
}

function refusal(why: string): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `See that regions.json is as beside the others, and that all of them run: ${why}. Nothing was done.`,
  );
}

interface Parties {
  readonly others: readonly JoinParty[];
  readonly newcomer: JoinParty;
  readonly donor: JoinParty;
  readonly shapes: readonly TableShape[];
}

async function join(options: JoinOptions, parties: Parties): Promise<void> {
  const { others, newcomer, donor, shapes } = parties;
  const { regions, left, definition, patienceMs } = options;
  const slot = nameFor(newcomer.name);
  const signal = AbortSignal.timeout(patienceMs);
  // First: nothing is forgotten any more that it may need.
  for (const { client } of others) await countNewcomer(client, newcomer.name);
  for (const { client } of others) await dropSlot(client, slot);
  await clearNewcomer(
    newcomer.client,
    others.map(({ name }) => name),
  );
  const names = [...regions.map(({ name }) => name), newcomer.name];
  await prepareRegion(newcomer.client, { name: newcomer.name, names, left, definition, isJoining: true });
  const start = await startFrom(others, donor, slot, signal);
  const created = await createSlot({ from: donor.url, slot, failover: false });
  try {
    await fillNewcomer({
      donor,
      newcomer,
      others,
      shapes,
      start,
      snapshot: created.snapshot,
      copiedAt: created.consistentLsn,
      untilRead: () => untilOwnReaderPassed(donor, created.consistentLsn, signal),
    });
  } finally {
    await created.release();
  }
}

/** Makes a slot in each region but the donor, and waits until the donor has what the slots do not have. */
async function startFrom(
  others: readonly JoinParty[],
  donor: JoinParty,
  slot: string,
  signal: AbortSignal,
): Promise<JoinStart> {
  const times: number[] = [];
  const points = new Map<number, bigint>();
  for (const party of others.filter((one) => one !== donor)) {
    const { client, number } = party;
    // Making a slot waits for them too, for as long as they run.
    await passPatiently(party, signal);
    await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
    times.push(await passPatiently(party, signal));
    const { rows } = await client.query<{ lsn: string }>(`SELECT pg_current_wal_insert_lsn()::text AS lsn`);
    points.set(number, parseLsn(rows[0]?.lsn ?? '0/0'));
    // Behind it, so that whoever reads on passes it, also where nobody writes.
    await client.query(`SELECT pg_logical_emit_message(true, 'lockstep.look', '')`);
  }
  const positions = new Map<JoinParty, Lsn>();
  await untilSo(`${donor.name} has what the others wrote: its links must stream`, signal, async () => {
    for (const party of others.filter((one) => one !== donor))
      positions.set(party, await readProgress(donor.client, nameFor(party.name)));
    return hasPassed(points, new Map([...positions].map(([{ number }, lsn]) => [number, lsn])));
  });
  times.push(await passPatiently(donor, signal));
  return { positions, settledUs: Math.min(...times), latestUs: Math.max(...times) };
}

/** What was deleted, and what merging rows were changed by, in all that was copied is noted then. */
async function untilOwnReaderPassed(donor: JoinParty, at: Lsn, signal: AbortSignal): Promise<void> {
  await untilSo(`${donor.name} has read its own log: its process must run`, signal, async () => {
    await donor.client.query(`SELECT pg_logical_emit_message(true, 'lockstep.look', '')`);
    const { rows } = await donor.client.query<{ lsn: string | null }>(
      'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
      [OWN_SLOT],
    );
    return rows[0]?.lsn != null && parseLsn(rows[0].lsn) >= at;
  });
}

async function passPatiently({ name, client }: JoinParty, signal: AbortSignal): Promise<number> {
  return passRunning(client, signal).catch((error: unknown) => {
    throw signal.aborted ? lackOfPatience(`the transactions that run in ${name} end`, error) : error;
  });
}

function lackOfPatience(what: string, cause?: unknown): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Give the command again, with more --patience: waited in vain until ${what}. What it did is undone.`,
    { cause },
  );
}

async function untilSo(what: string, signal: AbortSignal, isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) {
    if (signal.aborted) throw lackOfPatience(what);
    await delay(POLL_MS);
  }
}

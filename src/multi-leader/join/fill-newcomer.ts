import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { quoteLiteral } from '../../logical/core/quote.ts';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { BatchRecord } from '../core/batch-record.ts';
import { clockLackUs } from '../core/patience.ts';
import { openOriginSession, openSession } from '../sessions.ts';
import { nameFor } from '../setup/region-setup.ts';
import { readSequences, restartAfter } from '../setup/sequences.ts';
import type { TableShape } from '../tables/shape.ts';
import { microsOf, SCHEMA, statementsFor, timeOf, WRITE_RECORDS } from '../tables/statements.ts';
import { versionParameters } from '../tables/versions.ts';
import { versionToNote } from './core/join-rule.ts';
import { copyNotes, readDonorRows } from './donor-copy.ts';
import type { JoinParty, JoinStart } from './parties.ts';
import { holdWriters, openNewcomer, skipOwnPast } from './newcomer.ts';

export interface FillOptions {
  readonly donor: JoinParty;
  readonly newcomer: JoinParty;
  /** The donor too. */
  readonly others: readonly JoinParty[];
  readonly shapes: readonly TableShape[];
  readonly start: JoinStart;
  /** Of the donor as of `copiedAt`, where the newcomer's slot there begins. */
  readonly snapshot: string;
  readonly copiedAt: Lsn;
  /** Resolves when the donor has noted all that was deleted before `copiedAt`. */
  readonly untilRead: () => Promise<void>;
}

const CLOCK = `SELECT ${microsOf('clock_timestamp()')} AS now`;
const POLL_MS = 50;

/** Fills the newcomer in one transaction, which nobody's writes come before, and opens it. */
export async function fillNewcomer(options: FillOptions): Promise<void> {
  const { donor, newcomer } = options;
  const target = await openOriginSession(newcomer.url, `joining`, nameFor(donor.name));
  const source = await openSession(donor.url, 'donor').catch(async (error: unknown) => {
    await target.end().catch(() => undefined);
    throw error;
  });
  try {
    await target.query('BEGIN');
    await fill(options, source, target);
    await target.query('COMMIT');
  } finally {
    // What was not committed goes with the connection.
    await Promise.all([source, target].map((client) => client.end().catch(() => undefined)));
  }
}

async function fill(options: FillOptions, source: pg.Client, target: pg.Client): Promise<void> {
  const { newcomer, others, shapes, start, snapshot, copiedAt, donor } = options;
  await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  await source.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
  await holdWriters(target, shapes);
  await skipOwnPast(
    newcomer.client,
    others.map(({ name }) => name),
  );
  const stampUs = await readStamp(source);
  for (const shape of shapes) await copyTable(options, shape, { source, target, stampUs });
  await copyNotes(source, target, 'parked');
  await source.query('COMMIT');
  await options.untilRead();
  await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  for (const table of ['tombstones', 'bases', 'operations', 'conflicts', 'shares'])
    await copyNotes(source, target, table);
  await source.query('COMMIT');
  await passSequences(options, target);
  for (const [{ name }, lsn] of start.positions)
    await target.query('SELECT pg_replication_origin_advance($1, $2)', [nameFor(name), formatLsn(lsn)]);
  await openNewcomer(target);
  await target.query(`SELECT pg_replication_origin_xact_setup($1::pg_lsn, ${timeOf('$2::bigint')})`, [
    formatLsn(copiedAt),
    stampUs,
  ]);
  const latestUs = Math.max(start.latestUs, await readNumber(donor.client, CLOCK));
  await untilClock(target, latestUs);
}

/** What the copy is stamped with: no version in it is above. */
async function readStamp(source: pg.Client): Promise<number> {
  const { rows } = await source.query<{ now: string }>(
    `SELECT greatest(${microsOf('clock_timestamp()')}, (SELECT max(batch_us) FROM ${SCHEMA}.records),
       (SELECT max(batch_us) FROM ${SCHEMA}.batch_records)) AS now`,
  );
  return Number(rows[0]?.now);
}

async function readNumber(client: pg.Client, query: string): Promise<number> {
  const { rows } = await client.query<{ now: string }>(query);
  return Number(rows[0]?.now);
}

async function copyTable(
  { donor, start: { settledUs } }: FillOptions,
  shape: TableShape,
  { source, target, stampUs }: { source: pg.Client; target: pg.Client; stampUs: number },
): Promise<void> {
  const { insertImages } = statementsFor(shape);
  const copied = { donor: donor.number, settledUs, keepsAll: shape.unique.length > 0 };
  for await (const rows of readDonorRows(source, shape)) {
    const { rowCount } = await target.query(insertImages, [rows.map(({ image }) => image)]);
    if (rowCount !== rows.length)
      throw new LockstepError(
        'CONFIG_INVALID',
        `Look for triggers and rules of ${shape.name} in the new region that keep rows out: ${rows.length - (rowCount ?? 0)} of them did not get in.`,
      );
    const records = rows.flatMap(({ key, present }): BatchRecord[] => {
      const version = versionToNote(present, copied);
      return version === null ? [] : [{ table: shape.name, key, version }];
    });
    if (records.some(({ version }) => version.timeUs > stampUs))
      throw new LockstepError(
        'CONFIG_INVALID',
        `Give the command again once the clock of region ${donor.name}'s server is past where it was: it was set back, and rows of ${shape.name} are of a later time.`,
      );
    if (records.length > 0) await target.query(WRITE_RECORDS, [...versionParameters(records), stampUs]);
  }
}

/** Past the numbers that any region has given, also before each had its own. */
async function passSequences({ others, newcomer, shapes }: FillOptions, target: pg.Client): Promise<void> {
  const given = new Map<string, bigint>();
  for (const { client } of others)
    for (const { column, last } of await readSequences(client, shapes)) {
      const before = given.get(column) ?? 0n;
      if (last !== null && BigInt(last) > before) given.set(column, BigInt(last));
    }
  for (const sequence of await readSequences(target, shapes)) {
    const last = given.get(sequence.column);
    if (last !== undefined) await restartAfter(target, sequence, last, newcomer.number);
  }
}

async function untilClock(target: pg.Client, latestUs: number): Promise<void> {
  for (;;) {
    const lackUs = clockLackUs(await readNumber(target, CLOCK), latestUs);
    if (lackUs === 0) return;
    await delay(Math.max(POLL_MS, lackUs / 1_000));
  }
}

import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { readShapes } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { markFounded, prepareMetadata, readRegionWords } from './metadata.ts';
import type { RegionPlace } from './metadata.ts';
import { publish } from './publication.ts';
import { spreadSequences } from './sequences.ts';
import { prepareWriters } from './writers.ts';

/** Read by the region itself. */
export const OWN_SLOT = 'lockstep_own';

/** The slot on a region that another one reads, and the replication origin of what comes from a region. */
export function nameFor(region: string): string {
  return `lockstep_${region}`;
}

/**
 * Makes a database ready to be one of several regions, as often as it is called: settings checked, metadata, publication,
 * a slot for each other region and one for its own, an origin for each other region, sequences in disjoint ranges.
 * Nothing that is written afterwards is missed by any region. Throws CONFIG_INVALID with what is missing.
 */
export async function prepareRegion(
  client: pg.Client,
  place: RegionPlace,
): Promise<ReadonlyMap<string, TableShape>> {
  await checkServer(client, place);
  const shapes = await readShapes(client, place.definition);
  await prepareMetadata(client, place);
  await prepareWriters(client, [...shapes.values()]);
  await publish(client, [...shapes.values()]);
  const { left = [] } = place;
  const others = place.names.filter((name) => name !== place.name && !left.includes(name));
  await checkSlots(client, place.name, others);
  for (const slot of [OWN_SLOT, ...others.map(nameFor)]) {
    await client.query(
      `SELECT pg_create_logical_replication_slot($1, 'pgoutput')
       WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`,
      [slot],
    );
  }
  for (const origin of [OWN_SLOT, ...others.map(nameFor)]) {
    await client.query(
      `SELECT pg_replication_origin_create($1)
       WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = $1)`,
      [origin],
    );
  }
  await dropSlotsOf(client, left);
  await spreadSequences(client, [...shapes.values()], place.names.indexOf(place.name));
  await markFounded(client);
  return shapes;
}

/** Nobody needs the slots of those that have left, which would keep the log for ever; one whose reader still runs stays. */
export async function dropSlotsOf(client: pg.Client, left: readonly string[]): Promise<void> {
  await client.query(
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ANY ($1) AND NOT active`,
    [left.map(nameFor)],
  );
}

/** A slot that is missing although it was made once is not made anew: what it kept would be lost in silence. */
async function checkSlots(client: pg.Client, own: string, others: readonly string[]): Promise<void> {
  const { isFounded } = await readRegionWords(client);
  if (!isFounded) return;
  const { rows } = await client.query<{ name: string }>(
    `SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = name)`,
    [[OWN_SLOT, ...others.map(nameFor)]],
  );
  if (rows.length === 0) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Found the regions anew, as docs/multi-leader.md says under "A region that was put back": replication slot ${rows.map(({ name }) => name).join(', ')} of region ${own} is gone. It was dropped, or the data were put back from a backup, or another server leads that does not have it; what it kept for the others cannot be had from the log any more.`,
    { details: { slots: rows.map(({ name }) => name) } },
  );
}

async function checkServer(client: pg.Client, place: RegionPlace): Promise<void> {
  const { rows } = await client.query<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings WHERE name IN ('wal_level', 'track_commit_timestamp', 'max_replication_slots')`,
  );
  const setting = (name: string): string => rows.find((row) => row.name === name)?.setting ?? '';
  const problems: string[] = [];
  if (setting('wal_level') !== 'logical') problems.push('wal_level must be logical');
  if (setting('track_commit_timestamp') !== 'on') problems.push('track_commit_timestamp must be on');
  if (Number(setting('max_replication_slots')) < place.names.length)
    problems.push(`max_replication_slots must be ${place.names.length} at least`);
  if (problems.length === 0) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `The server of region ${place.name} is not set up for it: ${problems.join(', ')}. Change that, restart it, and try again.`,
    { details: { problems } },
  );
}

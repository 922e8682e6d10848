import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import { openSession } from '../sessions.ts';
import { checkOwner } from '../setup/metadata.ts';

export interface JoinPlace {
  readonly name: string;
  readonly url: string;
}

export interface JoinPlaces {
  /** All regions with their leaders, in the order that they were founded in, without the one that joins. */
  readonly regions: readonly JoinPlace[];
  /** Names of those that have left. */
  readonly left: readonly string[];
  readonly newcomer: JoinPlace;
}

/** A region as the join sees it. */
export interface JoinParty extends JoinPlace {
  readonly number: number;
  readonly client: pg.Client;
}

/** Where the newcomer goes on from, and what it can forget. */
export interface JoinStart {
  /** Of each region but the donor. */
  readonly positions: ReadonlyMap<JoinParty, Lsn>;
  /** At or below it nothing comes that the copy does not have. */
  readonly settledUs: number;
  readonly latestUs: number;
}

/** With a session for each region that has not left. */
export async function withOthers(
  { regions, left }: JoinPlaces,
  work: (others: readonly JoinParty[]) => Promise<void>,
): Promise<void> {
  const parties: JoinParty[] = [];
  try {
    for (const [number, place] of regions.entries())
      if (!left.includes(place.name))
        parties.push({ ...place, number, client: await openSession(place.url, 'joining') });
    for (const { client } of parties) await checkOwner(client);
    await work(parties);
  } finally {
    await Promise.all(parties.map(({ client }) => client.end().catch(() => undefined)));
  }
}

/** With a session for the region that joins, which comes after all others. One command at a time: throws CONFIG_INVALID for a second. */
export async function withNewcomer<T>(
  { regions, newcomer }: JoinPlaces,
  work: (newcomer: JoinParty) => Promise<T>,
): Promise<T> {
  const client = await openSession(newcomer.url, 'joining');
  try {
    await checkOwner(client);
    const { rows } = await client.query<{ isAlone: boolean }>(
      `SELECT pg_try_advisory_lock(hashtextextended('lockstep join', 0)) AS "isAlone"`,
    );
    if (rows[0]?.isAlone !== true) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Wait until the other command that lets ${newcomer.name} join has ended, and give this one again; it did nothing.`,
      );
    }
    return await work({ ...newcomer, number: regions.length, client });
  } finally {
    await client.end().catch(() => undefined);
  }
}

import type pg from 'pg';
import { majority } from '../consensus/proposer.ts';
import { createUrlClient } from '../wire/url-client.ts';
import { addressIn } from './core/address.ts';
import { findMismatch, judgeMembership } from './core/membership.ts';
import type { NodeIdentity } from './core/membership.ts';
import { inspectNode } from './nodes/identity.ts';
import type { NamedNode } from './options.ts';

/** One server, as it is found now. */
export interface InspectedNode {
  readonly name: string;
  /** `refused`: it answers and must not be used. */
  readonly state: 'up' | 'down' | 'refused';
  /** What is wrong, in one sentence; null when nothing is. */
  readonly problem: string | null;
  readonly systemIdentifier: string | null;
  /** What it is called among the members. */
  readonly id: string | null;
  readonly epoch: number | null;
  /** Keys noted here that other servers may lack, by their names. */
  readonly hints: Readonly<Record<string, number>>;
  /** Cells kept here; deleted ones among them. */
  readonly cells: number | null;
  /** Compare-and-set keys kept here. */
  readonly slots: number | null;
}

export interface InspectedQuorum {
  readonly isFounded: boolean;
  readonly epoch: number | null;
  /** Whether members are being replaced, added or removed: run the command that began it again when nobody does. */
  readonly isChanging: boolean;
  readonly quorum: number;
  /** Whether enough servers are up for `quorum` and compare-and-set. */
  readonly hasQuorum: boolean;
  /** Whether one is up, which is enough for `accept`. */
  readonly acceptsWrites: boolean;
  readonly nodes: readonly InspectedNode[];
}

interface Found {
  readonly identity: NodeIdentity;
  readonly hints: readonly { readonly target: string; readonly count: number }[];
  readonly cells: number | null;
  readonly slots: number | null;
}

/** Looks at each server anew, and changes nothing. A server that does not answer within `timeoutMs` is down. */
export async function inspectQuorum(
  nodes: readonly NamedNode[],
  timeoutMs = 2_000,
): Promise<InspectedQuorum> {
  const looked = await Promise.all(
    nodes.map(async ({ name, url }) => {
      try {
        return { name, url, found: await look(url, timeoutMs), problem: null };
      } catch (error) {
        return { name, url, found: null, problem: (error as Error).message };
      }
    }),
  );
  const judged = judgeMembership(
    looked.map(({ name, url, found }) => ({
      name,
      address: addressIn(url),
      identity: found?.identity ?? null,
    })),
  );
  const membership = judged.kind === 'known' ? judged.membership : null;
  const nameOf = (target: string): string =>
    looked.find(({ found }) => found?.identity.id === target)?.name ?? target;
  const inspected = looked.map(({ name, found, problem }): InspectedNode => {
    if (found === null)
      return {
        name,
        state: 'down',
        problem,
        systemIdentifier: null,
        id: null,
        epoch: null,
        hints: {},
        cells: null,
        slots: null,
      };
    const mismatch = membership === null ? null : findMismatch(name, found.identity, membership);
    return {
      name,
      state: mismatch === null ? 'up' : 'refused',
      problem:
        mismatch ??
        (found.identity.isDurable ? null : 'fsync is off: a crash of its machine loses what it acknowledged'),
      systemIdentifier: found.identity.systemIdentifier,
      id: found.identity.id,
      epoch: found.identity.epoch,
      hints: Object.fromEntries(found.hints.map(({ target, count }) => [nameOf(target), count])),
      cells: found.cells,
      slots: found.slots,
    };
  });
  const up = inspected.filter(({ state }) => state === 'up').length;
  const quorum = majority(nodes.length);
  return {
    isFounded: membership !== null,
    epoch: membership?.epoch ?? null,
    isChanging: membership !== null && membership.next !== null,
    quorum,
    hasQuorum: membership !== null && up >= quorum,
    acceptsWrites: membership !== null && up > 0,
    nodes: inspected,
  };
}

async function look(url: string, timeoutMs: number): Promise<Found> {
  const client = createUrlClient({
    connectionString: url,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    application_name: 'lockstep leaderless status',
    // The server gives up as well: whoever reloads a page often would leave it counting.
    options: `-c search_path=pg_catalog -c role=none -c statement_timeout=${timeoutMs}`,
  });
  try {
    await client.connect();
    const identity = await inspectNode(client);
    if (identity.schemaVersion === null) return { identity, hints: [], cells: null, slots: null };
    const hints = await client.query<{ target: string; count: number }>(
      'SELECT target, count(*)::int AS count FROM lockstep_leaderless.hints GROUP BY target',
    );
    const { cells, slots } = await count(client).catch(() => ({ cells: null, slots: null }));
    return { identity, hints: hints.rows, cells, slots };
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Rejects where there is more to count than fits the time: the server is up all the same. */
async function count(
  client: pg.ClientBase,
): Promise<{ readonly cells: number | null; readonly slots: number | null }> {
  const { rows } = await client.query<{ cells: number; slots: number }>(
    `SELECT (SELECT count(*) FROM lockstep_leaderless.registers)::float + (SELECT count(*) FROM lockstep_leaderless.tallies) AS cells,
       (SELECT count(*) FROM lockstep_leaderless.slots)::float AS slots`,
  );
  return rows[0] ?? { cells: null, slots: null };
}

import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { microsOf } from '../tables/statements.ts';
import { openMessage, sealMessage } from './sealed-messages.ts';

/** The prefix of the message by which a region promises to commit nothing at or below a time. */
export const PROMISE = 'lockstep.promise';
const POLL_MS = 20;

/**
 * A time at or below which nothing is committed here after this resolves. The clock comes
 * first, in a statement of its own: a transaction that begins between it and the look at those running is later than it.
 * The look takes a transaction id of its own, because a snapshot does not list those that run with an id above the last
 * one that ended, and such a one may be committing with an earlier time. Waits as long as the longest transaction that
 * runs now.
 */
export async function passRunning(client: pg.Client, signal: AbortSignal): Promise<number> {
  const { rows: clock } = await client.query<{ now: string }>(
    `SELECT ${microsOf('clock_timestamp()')} AS now`,
  );
  const { rows: own } = await client.query<{ id: string }>('SELECT pg_current_xact_id()::text AS id');
  for (;;) {
    const { rows } = await client.query<{ over: boolean }>(
      'SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8 AS over',
      [own[0]?.id],
    );
    if (rows[0]?.over === true) return Number(clock[0]?.now);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** Promises a time, in the log, so that it reaches every other region behind all that it speaks of. */
export async function promiseTime(client: pg.Client, key: Buffer, signal: AbortSignal): Promise<void> {
  const timeUs = await passRunning(client, signal);
  await client.query('SELECT pg_logical_emit_message(true, $1, $2)', [PROMISE, formatPromise(timeUs, key)]);
}

/** With a code: what is promised is forgotten everywhere. */
export function formatPromise(timeUs: number, key: Buffer): string {
  return sealMessage(PROMISE, String(timeUs), key);
}

/** Null for a message that the region itself did not write. */
export function readPromise(message: Buffer, key: Buffer): number | null {
  const content = openMessage(PROMISE, message, key);
  return content === null ? null : Number(content);
}

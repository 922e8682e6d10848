import type pg from 'pg';
import { z } from 'zod';
import { SCHEMA } from '../tables/statements.ts';
import { openMessage, sealMessage } from './sealed-messages.ts';

/** The prefix of the message by which a region tells the others what it decided for all of them. */
export const DECISION = 'lockstep.decision';

type NamedRow = Readonly<Record<string, string | null>> | null;

/** An entry of the log of conflicts that one region makes, and all others take as it is. */
export interface Decision {
  readonly table: string;
  /** As people write it. */
  readonly key: string;
  readonly kind: string;
  readonly decision: string;
  /** Why, where that is not to be seen from the rows. */
  readonly reason?: string | null | undefined;
  readonly earlier: { readonly timeUs: number; readonly region: number } | null;
  readonly later: { readonly timeUs: number; readonly region: number; readonly lsn: string };
  readonly before: NamedRow;
  readonly seen: NamedRow;
  readonly written: NamedRow;
  readonly result: NamedRow;
}

const Row: z.ZodType<NamedRow> = z.record(z.string(), z.string().nullable()).nullable();
const Message: z.ZodType<Decision> = z.object({
  table: z.string(),
  key: z.string(),
  kind: z.string(),
  decision: z.string(),
  reason: z.string().nullish(),
  earlier: z.object({ timeUs: z.number().int(), region: z.number().int() }).nullable(),
  later: z.object({ timeUs: z.number().int(), region: z.number().int(), lsn: z.string() }),
  before: Row,
  seen: Row,
  written: Row,
  result: Row,
});

/** Logs a decision here and tells it to the others, within the transaction that carries it out. */
export async function tellDecision(client: pg.Client, decision: Decision, key: Buffer): Promise<void> {
  await logDecisions(client, [decision]);
  await client.query('SELECT pg_logical_emit_message(true, $1, $2)', [
    DECISION,
    sealMessage(DECISION, JSON.stringify(decision), key),
  ]);
}

/** Null for a message that is not a region's own. */
export function readDecision(message: Buffer, key: Buffer): Decision | null {
  const content = openMessage(DECISION, message, key);
  return content === null ? null : Message.parse(JSON.parse(content));
}

/** As often as it is called: an entry that is there stays. */
export async function logDecisions(client: pg.Client, decisions: readonly Decision[]): Promise<void> {
  for (const one of decisions) {
    const { table, key, kind, decision, reason, earlier, later, before, seen, written, result } = one;
    await client.query(
      `INSERT INTO ${SCHEMA}.conflicts (table_name, key, kind, decision, earlier_us, earlier_region, later_us,
         later_region, later_lsn, before_row, seen_row, written_row, result_row, reason)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`,
      [
        table,
        key,
        kind,
        decision,
        earlier?.timeUs ?? null,
        earlier?.region ?? null,
        later.timeUs,
        later.region,
        later.lsn,
        before,
        seen,
        written,
        result,
        reason ?? null,
      ],
    );
  }
}
